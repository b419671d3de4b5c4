# The last knock hands the source over to a set of another program.
iptables -A INPUT -m set --match-set banned src -j DROP
iptables -A INPUT -m set --match-set knocked src -p tcp --dport 22 -j ACCEPT
iptables -A INPUT -p tcp --dport 25108 -m recent --name h1 --set -j DROP
iptables -A INPUT -p tcp --dport 9404 -m recent --rcheck --seconds 10 --name h1 -j SET --add-set knocked src
iptables -A INPUT -p tcp --dport 22 -j DROP
