# Ports around the knock take a source off the list again, for both families.
iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A INPUT -p tcp -m multiport --dports 14020:14024,14026:14030 -m recent --name near --remove -j DROP
iptables -A INPUT -p tcp --dport 14025 -m recent --name near --set -j DROP
iptables -A INPUT -p tcp --dport 22 -m recent --rcheck --seconds 60 --name near -j ACCEPT
iptables -A INPUT -p tcp --dport 22 -j DROP
ip6tables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
ip6tables -A INPUT -p tcp -m multiport --dports 14020:14024,14026:14030 -m recent --name near --remove -j DROP
ip6tables -A INPUT -p tcp --dport 14025 -m recent --name near --set -j DROP
ip6tables -A INPUT -p tcp --dport 22 -m recent --rcheck --seconds 60 --name near -j ACCEPT
ip6tables -A INPUT -p tcp --dport 22 -j DROP
