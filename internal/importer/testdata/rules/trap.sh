# Three rules: the two ports beside the knock are a trap for sweeps.
iptables -A INPUT -p tcp --dport 5511 -m recent --name caught --remove -j DROP
iptables -A INPUT -p tcp --dport 5512 -m recent --name caught --set -j DROP
iptables -A INPUT -p tcp --dport 5513 -m recent --name caught --remove -j DROP
iptables -A INPUT -p tcp --dport 22 -m recent --update --seconds 300 --name caught -j ACCEPT
iptables -A INPUT -p tcp --dport 22 -j DROP
