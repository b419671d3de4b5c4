# Three attempts within ten seconds let in, whatever they are for.
iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
iptables -A INPUT -p tcp --dport 8443 --syn -m recent --name tries --rcheck --seconds 10 --hitcount 3 -j ACCEPT
iptables -A INPUT -p tcp --dport 8443 --syn -m recent --name tries --set -j DROP
iptables -A INPUT -p tcp --dport 8443 -j DROP
