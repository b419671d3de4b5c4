package bench

import (
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// counters reads the packets of the sink's counters in the namespace of the calling
// thread. nft would fetch every element of every set before it lists them, which
// takes a minute for a million sources.
func counters() (map[string]int, error) {
	request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETOBJ, unix.NLM_F_DUMP)
	request.AddData(&nl.Nfgenmsg{NfgenFamily: unix.NFPROTO_INET})
	objects, err := request.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil {
		return nil, fmt.Errorf("list counters: %w", err)
	}
	packets := make(map[string]int)
	for _, object := range objects {
		var table, name string
		attributes, err := nl.ParseRouteAttr(object[nl.SizeofNfgenmsg:])
		if err != nil {
			return nil, fmt.Errorf("list counters: %w", err)
		}
		for _, a := range attributes {
			switch a.Attr.Type & nl.NLA_TYPE_MASK {
			case unix.NFTA_OBJ_TABLE:
				table = unix.ByteSliceToString(a.Value)
			case unix.NFTA_OBJ_NAME:
				name = unix.ByteSliceToString(a.Value)
			case unix.NFTA_OBJ_DATA:
				data, err := nl.ParseRouteAttr(a.Value)
				if err != nil {
					return nil, fmt.Errorf("list counters: %w", err)
				}
				for _, d := range data {
					if d.Attr.Type&nl.NLA_TYPE_MASK == unix.NFTA_COUNTER_PACKETS && table == sinkTable {
						packets[name] = int(binary.BigEndian.Uint64(d.Value))
					}
				}
			}
		}
	}
	return packets, nil
}
