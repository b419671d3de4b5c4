# What fail2ban 1.0's action iptables[type=multiport] runs for a jail sshd.
# usage: fail2ban-iptables.sh start|stop|ban ADDRESS|unban ADDRESS
case $1 in
start)
	iptables -w -N f2b-sshd
	iptables -w -A f2b-sshd -j RETURN
	iptables -w -I INPUT -p tcp -m multiport --dports 22 -j f2b-sshd
	;;
stop)
	iptables -w -D INPUT -p tcp -m multiport --dports 22 -j f2b-sshd
	iptables -w -F f2b-sshd
	iptables -w -X f2b-sshd
	;;
ban) iptables -w -I f2b-sshd 1 -s "$2" -j REJECT --reject-with icmp-port-unreachable ;;
unban) iptables -w -D f2b-sshd -s "$2" -j REJECT --reject-with icmp-port-unreachable ;;
esac
