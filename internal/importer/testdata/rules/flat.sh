# Rules one below the other: nothing takes a source off a list.
iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A INPUT -i lo -j ACCEPT
iptables -A INPUT -p tcp --dport 7411 -m recent --name S1 --set -j DROP
iptables -A INPUT -p tcp --dport 18240 -m recent --rcheck --seconds 15 --name S1 -m recent --name S2 --set -j DROP
iptables -A INPUT -p tcp --dport 30955 -m recent --rcheck --seconds 15 --name S2 -m recent --name S3 --set -j DROP
iptables -A INPUT -p tcp --dport 22 -m recent --rcheck --seconds 60 --name S3 -j ACCEPT
iptables -A INPUT -p tcp --dport 22 -j DROP
