# Small chains that take the source from one list to the next.
iptables -N TO_B
iptables -A TO_B -m recent --name stepA --remove
iptables -A TO_B -m recent --name stepB --set -j DROP
iptables -N TO_C
iptables -A TO_C -m recent --name stepB --remove
iptables -A TO_C -m recent --name stepC --set -j DROP
iptables -N GUARDED
iptables -A GUARDED -p tcp --dport 6203 -m recent --name stepA --set -j DROP
iptables -A GUARDED -p tcp --dport 27118 -m recent --rcheck --seconds 20 --name stepA -j TO_B
iptables -A GUARDED -p tcp --dport 11094 -m recent --rcheck --seconds 20 --name stepB -j TO_C
iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A INPUT -p tcp -m multiport --dports 6203,27118,11094 -j GUARDED
iptables -A INPUT -p tcp --dport 22 -m recent --update --seconds 40 --name stepC -j ACCEPT
iptables -A INPUT -p tcp --dport 22 -j DROP
