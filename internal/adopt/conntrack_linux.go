package adopt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"tirl/internal/port"
)

// Status bits of a flow, include/uapi/linux/netfilter/nf_conntrack_common.h.
const (
	seenReply = 1 << 1
	assured   = 1 << 2
	confirmed = 1 << 3
)

// TCP flags of each direction, include/uapi/linux/netfilter/nf_conntrack_tcp.h.
const (
	sackPermitted = 0x02
	beLiberal     = 0x08
)

// patience is how long the kernel may take over one request.
const patience = 5 * time.Second

// table talks ctnetlink on one socket.
type table struct {
	socket  *nl.SocketHandle
	timeout uint32
}

func newTable(timeout uint32) (*table, error) {
	s, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open a netfilter socket: %w", err)
	}
	h := &nl.SocketHandle{Socket: s}
	limit := unix.NsecToTimeval(patience.Nanoseconds())
	err = errors.Join(s.SetSendTimeout(&limit), s.SetReceiveTimeout(&limit))
	if err != nil {
		h.Close()
		return nil, err
	}
	return &table{h, timeout}, nil
}

func (t *table) close() { t.socket.Close() }

// adopt sees to it that a flow is in the table as an answered one. It says
// whether that took a change.
func (t *table) adopt(f flow) (bool, error) {
	err := t.create(f)
	if !errors.Is(err, unix.EEXIST) {
		return err == nil, err
	}
	known, err := t.find(f)
	if errors.Is(err, unix.ENOENT) {
		err = t.create(f) // it has ended meanwhile
		return err == nil, err
	}
	if err != nil || known.status&seenReply != 0 {
		return false, err
	}
	err = t.mend(known)
	return err == nil, err
}

func (t *table) create(f flow) error {
	req := t.request(f, nl.IPCTNL_MSG_CT_NEW, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	req.AddData(tuple(nl.CTA_TUPLE_ORIG, f.from, f.to))
	req.AddData(tuple(nl.CTA_TUPLE_REPLY, f.to, f.from))
	t.establish(req, confirmed)
	_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	return err
}

// mend makes a flow established that conntrack has seen in one direction only.
func (t *table) mend(known entry) error {
	req := t.request(known.flow, nl.IPCTNL_MSG_CT_NEW, unix.NLM_F_ACK)
	req.AddData(tuple(nl.CTA_TUPLE_ORIG, known.from, known.to))
	t.establish(req, known.status)
	_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	return err
}

// establish adds what makes a flow established.
func (t *table) establish(req *nl.NetlinkRequest, status uint32) {
	req.AddData(nl.NewRtAttr(nl.CTA_STATUS, nl.BEUint32Attr(status|seenReply|assured)))
	req.AddData(nl.NewRtAttr(nl.CTA_TIMEOUT, nl.BEUint32Attr(t.timeout)))
	info := nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_PROTOINFO, nil)
	tcp := info.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_PROTOINFO_TCP, nil)
	tcp.AddRtAttr(nl.CTA_PROTOINFO_TCP_STATE, nl.Uint8Attr(nl.TCP_CONNTRACK_ESTABLISHED))
	// struct nf_ct_tcp_flags: the flags, and which of them are set.
	flags := []byte{sackPermitted | beLiberal, sackPermitted | beLiberal}
	tcp.AddRtAttr(nl.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, flags)
	tcp.AddRtAttr(nl.CTA_PROTOINFO_TCP_FLAGS_REPLY, flags)
	req.AddData(info)
}

// entry is what the table says of a flow, under one of its tuples.
type entry struct {
	flow
	status uint32
}

// find looks a flow up. The kernel knows it by the tuple of either direction,
// but where NAT is at work only one is that of the socket.
func (t *table) find(f flow) (entry, error) {
	known, err := t.look(f)
	if errors.Is(err, unix.ENOENT) {
		return t.look(flow{f.to, f.from})
	}
	return known, err
}

func (t *table) look(f flow) (entry, error) {
	// Without the acknowledgment nothing would end the answer, which the kernel
	// marks as one of several (ctnetlink_fill_info).
	req := t.request(f, nl.IPCTNL_MSG_CT_GET, unix.NLM_F_ACK)
	req.AddData(tuple(nl.CTA_TUPLE_ORIG, f.from, f.to))
	answers, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil {
		return entry{}, err
	}
	if len(answers) == 0 {
		return entry{}, unix.ENOENT
	}
	status, err := parseStatus(answers[0])
	return entry{f, status}, err
}

// parseStatus reads a netfilter message: its header, then attributes.
func parseStatus(message []byte) (uint32, error) {
	if len(message) < nl.SizeofNfgenmsg {
		return 0, errors.New("the kernel's answer is too short")
	}
	if len(message)%unix.RTA_ALIGNTO != 0 {
		return 0, errors.New("the kernel's answer is cut short")
	}
	attrs, err := nl.ParseRouteAttr(message[nl.SizeofNfgenmsg:])
	if err != nil {
		return 0, fmt.Errorf("read the kernel's answer: %w", err)
	}
	for _, a := range attrs {
		if a.Attr.Type&nl.NLA_TYPE_MASK == nl.CTA_STATUS && len(a.Value) == 4 {
			return binary.BigEndian.Uint32(a.Value), nil
		}
	}
	return 0, errors.New("the kernel's answer has no status")
}

func (t *table) request(f flow, operation, flags int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|operation, flags|unix.NLM_F_REQUEST)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: t.socket}
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family(f.from.Addr()), Version: nl.NFNETLINK_V0})
	return req
}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// tuple names one direction of a flow.
func tuple(kind int, from, to netip.AddrPort) *nl.RtAttr {
	source, destination := nl.CTA_IP_V4_SRC, nl.CTA_IP_V4_DST
	if from.Addr().Is6() {
		source, destination = nl.CTA_IP_V6_SRC, nl.CTA_IP_V6_DST
	}
	all := nl.NewRtAttr(unix.NLA_F_NESTED|kind, nil)
	ip := all.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil)
	ip.AddRtAttr(source, from.Addr().AsSlice())
	ip.AddRtAttr(destination, to.Addr().AsSlice())
	proto := all.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, nil)
	proto.AddRtAttr(nl.CTA_PROTO_NUM, []byte{byte(port.TCP)})
	proto.AddRtAttr(nl.CTA_PROTO_SRC_PORT, nl.BEUint16Attr(from.Port()))
	proto.AddRtAttr(nl.CTA_PROTO_DST_PORT, nl.BEUint16Attr(to.Port()))
	return all
}
