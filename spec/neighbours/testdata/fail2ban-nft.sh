# What fail2ban 1.0's action nftables[type=multiport] runs for a jail sshd.
# usage: fail2ban-nft.sh start|stop|ban ADDRESS|unban ADDRESS
T="inet f2b-table"
case $1 in
start)
	nft add table $T
	nft -- add chain $T f2b-chain "{ type filter hook input priority -1; }"
	nft add set $T addr-set-sshd "{ type ipv4_addr; }"
	nft add rule $T f2b-chain tcp dport "{ 22 }" ip saddr @addr-set-sshd reject
	;;
stop)
	nft -a list chain $T f2b-chain | sed -n 's/.*@addr-set-sshd.* handle //p' |
		while read -r handle; do nft delete rule $T f2b-chain handle "$handle"; done
	nft delete set $T addr-set-sshd
	nft delete table $T
	;;
ban) nft add element $T addr-set-sshd "{ $2 }" ;;
unban) nft delete element $T addr-set-sshd "{ $2 }" ;;
esac
