# One set of chains for each client.
iptables -P INPUT DROP
iptables -A INPUT -i lo -j ACCEPT
iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -N ANNA1
iptables -A ANNA1 -m recent --name anna1 --remove
iptables -A ANNA1 -p udp --dport 40881 -m recent --name anna2 --set -j DROP
iptables -N ANNA2
iptables -A ANNA2 -m recent --name anna2 --remove
iptables -A ANNA2 -p udp --dport 7733 -m recent --name annaIn --set -j DROP
iptables -N BORIS1
iptables -A BORIS1 -m recent --name boris1 --remove
iptables -A BORIS1 -p udp --dport 22509 -m recent --name boris2 --set -j DROP
iptables -N BORIS2
iptables -A BORIS2 -m recent --name boris2 --remove
iptables -A BORIS2 -p udp --dport 60142 -m recent --name borisIn --set -j DROP
iptables -A INPUT -p tcp --dport 22 -m recent --rcheck --seconds 30 --name annaIn -j ACCEPT
iptables -A INPUT -p udp --dport 51820 -m recent --rcheck --seconds 30 --name borisIn -j ACCEPT
iptables -A INPUT -m recent --rcheck --seconds 10 --name anna2 -j ANNA2
iptables -A INPUT -m recent --rcheck --seconds 10 --name anna1 -j ANNA1
iptables -A INPUT -m recent --rcheck --seconds 10 --name boris2 -j BORIS2
iptables -A INPUT -m recent --rcheck --seconds 10 --name boris1 -j BORIS1
iptables -A INPUT -p udp --dport 18406 -m recent --name anna1 --set -j DROP
iptables -A INPUT -p udp --dport 33271 -m recent --name boris1 --set -j DROP
