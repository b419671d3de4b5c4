# One datagram opens.
iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A INPUT -p udp --dport 48123 -m recent --name rang --set -j DROP
iptables -A INPUT -p tcp --dport 22 -m recent --rcheck --seconds 30 --name rang -j ACCEPT
iptables -A INPUT -p tcp --dport 22 -j DROP
