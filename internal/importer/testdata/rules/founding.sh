#!/bin/sh
# A chain for each step; every step takes the source off its list first.
set -e
PORT1=41207
PORT2=8815
PORT3=29466
iptables -F
iptables -X
iptables -Z
iptables -N FIRST
iptables -A FIRST -p udp --dport $PORT1 -m recent --name one --set -j DROP
iptables -A FIRST -j DROP
iptables -N SECOND
iptables -A SECOND -m recent --name one --remove
iptables -A SECOND -p udp --dport $PORT2 -m recent --name two --set -j DROP
iptables -A SECOND -j FIRST
iptables -N THIRD
iptables -A THIRD -m recent --name two --remove
iptables -A THIRD -p udp --dport $PORT3 -m recent --name three --set -j DROP
iptables -A THIRD -j FIRST
iptables -N LAST
iptables -A LAST -m recent --name three --remove
iptables -A LAST -p tcp --dport 22 -j ACCEPT
iptables -A LAST -j FIRST
iptables -A INPUT -m state --state ESTABLISHED,RELATED -j ACCEPT
iptables -A INPUT -s 127.0.0.0/8 -j ACCEPT
iptables -A INPUT -p icmp -j ACCEPT
iptables -A INPUT -p tcp --dport 80 -j ACCEPT
iptables -A INPUT -m recent --name three --rcheck -j LAST
iptables -A INPUT -m recent --name two --rcheck -j THIRD
iptables -A INPUT -m recent --name one --rcheck -j SECOND
iptables -A INPUT -j FIRST
