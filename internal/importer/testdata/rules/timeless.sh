# Without --seconds a step never ends; REJECT shows that somebody listens.
iptables -P INPUT DROP
iptables -A INPUT -m state --state ESTABLISHED -j ACCEPT
iptables -A INPUT -p udp --dport 31007 -m recent --name KEYA --set -j REJECT
iptables -A INPUT -p udp --dport 9120 -m recent --rcheck --name KEYA -m recent --name KEYB --set -j REJECT
iptables -A INPUT -p udp --dport 15833 -m recent --rcheck --name KEYB -m recent --name KEYC --set -j REJECT
iptables -A INPUT -p tcp --dport 22 -m recent --rcheck --name KEYC -j ACCEPT
