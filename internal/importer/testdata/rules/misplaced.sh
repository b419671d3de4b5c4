# The knocks never come to the chain that waits for them.
iptables -P INPUT DROP
iptables -N WAIT
iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A INPUT -p tcp --dport 22 -j WAIT
iptables -A WAIT -p tcp --dport 12044 -m recent --name w1 --set -j DROP
iptables -A WAIT -p tcp --dport 22 -m recent --rcheck --name w1 -j ACCEPT
