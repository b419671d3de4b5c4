package events

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Of include/uapi/linux/netfilter/nfnetlink_log.h.
const (
	msgPacket = unix.NFNL_SUBSYS_ULOG << 8   // NFULNL_MSG_PACKET, which is 0
	msgConfig = unix.NFNL_SUBSYS_ULOG<<8 | 1 // NFULNL_MSG_CONFIG

	cfgCommand   = 1 // NFULA_CFG_CMD
	cfgMode      = 2 // NFULA_CFG_MODE
	cfgThreshold = 5 // NFULA_CFG_QTHRESH
	commandBind  = 1 // NFULNL_CFG_CMD_BIND
	copyPacket   = 2 // NFULNL_COPY_PACKET

	attrTimestamp = 3  // NFULA_TIMESTAMP
	attrPayload   = 9  // NFULA_PAYLOAD
	attrPrefix    = 10 // NFULA_PREFIX

	genHeader = 4      // struct nfgenmsg
	attrType  = 0x3fff // NLA_TYPE_MASK
)

// maxPayload asks for all of a packet: the rules say how much there is to have.
const maxPayload = 0xffff

// ErrTaken says that another program reads the group: the kernel gives it to one.
var ErrTaken = errors.New("another program reads this nflog group")

// nflog reads a group.
type nflog struct {
	socket *nl.NetlinkSocket
	raw    func([]byte) // sees each message; for tests
	queue  []Event
}

// Nflog reads an nflog group of the network namespace that the calling thread is
// in, from now on: the kernel keeps nothing for a reader that comes later.
func Nflog(group uint16) (Reader, error) { return openNflog(group, nil) }

func openNflog(group uint16, raw func([]byte)) (*nflog, error) {
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	n := &nflog{socket: socket, raw: raw}
	if err := n.bind(group); err != nil {
		n.Close()
		return nil, fmt.Errorf("read the nflog group %d: %w", group, err)
	}
	return n, nil
}

func (n *nflog) bind(group uint16) error {
	mode := append(binary.BigEndian.AppendUint32(nil, maxPayload), copyPacket, 0)
	for _, attr := range []*nl.RtAttr{
		nl.NewRtAttr(cfgCommand, []byte{commandBind}),
		nl.NewRtAttr(cfgMode, mode),
		// Each packet at once.
		nl.NewRtAttr(cfgThreshold, binary.BigEndian.AppendUint32(nil, 1)),
	} {
		req := nl.NewNetlinkRequest(msgConfig, unix.NLM_F_ACK)
		req.AddData(header{unix.AF_UNSPEC, 0, byte(group >> 8), byte(group)})
		req.AddData(attr)
		if err := n.socket.Send(req); err != nil {
			return err
		}
		if err := n.acknowledged(req.Seq); err != nil {
			return err
		}
	}
	return nil
}

// header is struct nfgenmsg: family, version, and a number in network order.
type header [genHeader]byte

// Len implements nl.NetlinkRequestData.
func (h header) Len() int { return len(h) }

// Serialize implements nl.NetlinkRequestData.
func (h header) Serialize() []byte { return h[:] }

// acknowledged waits for the answer to a request. Packets may come before it.
func (n *nflog) acknowledged(seq uint32) error {
	for {
		messages, _, err := n.socket.Receive()
		if err != nil {
			return err
		}
		for _, m := range messages {
			if m.Header.Type != unix.NLMSG_ERROR || m.Header.Seq != seq || len(m.Data) < 4 {
				n.take(m)
				continue
			}
			code := -int32(binary.NativeEndian.Uint32(m.Data))
			switch errno := syscall.Errno(code); errno {
			case 0:
				return nil
			case unix.EBUSY, unix.EEXIST:
				return ErrTaken
			case unix.EPERM:
				if n.privileged() {
					return ErrTaken
				}
				return errno
			default:
				return errno
			}
		}
	}
}

// privileged says whether this process may bind groups at all; the kernel gives
// one error for a group that is taken and for a lack of rights
// (nfulnl_recv_config, nfnetlink_rcv).
func (n *nflog) privileged() bool {
	caps := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&caps, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0
}

// Next implements Reader.
func (n *nflog) Next(ctx context.Context) (Event, error) {
	for len(n.queue) == 0 {
		if err := await(ctx, n.socket.GetFd()); err != nil {
			return Event{}, err
		}
		messages, _, err := n.socket.Receive()
		if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EINTR) {
			continue // some were lost
		}
		if err != nil {
			return Event{}, fmt.Errorf("read the nflog group: %w", err)
		}
		for _, m := range messages {
			n.take(m)
		}
	}
	e := n.queue[0]
	n.queue = n.queue[1:]
	return e, nil
}

func (n *nflog) take(m syscall.NetlinkMessage) {
	if m.Header.Type != msgPacket {
		return
	}
	if n.raw != nil {
		n.raw(m.Data)
	}
	if e, ok := parseMessage(m.Data, time.Now()); ok {
		n.queue = append(n.queue, e)
	}
}

// parseMessage reads one logged packet.
func parseMessage(data []byte, now time.Time) (Event, bool) {
	if len(data) < genHeader {
		return Event{}, false
	}
	attrs, err := nl.ParseRouteAttr(data[genHeader:])
	if err != nil {
		return Event{}, false
	}
	e := Event{Time: now}
	prefixed, addressed := false, false
	for _, a := range attrs {
		switch a.Attr.Type & attrType {
		case attrTimestamp:
			if len(a.Value) >= 16 {
				sec, usec := binary.BigEndian.Uint64(a.Value), binary.BigEndian.Uint64(a.Value[8:])
				e.Time = time.Unix(int64(sec), int64(usec)*1000)
			}
		case attrPrefix:
			e.Kind, prefixed = kind(strings.TrimRight(string(a.Value), "\x00"))
		case attrPayload:
			e.Source, e.To, addressed = parsePacket(a.Value)
		}
	}
	return e, prefixed && addressed
}

// Close implements Reader.
func (n *nflog) Close() error {
	n.socket.Close()
	return nil
}
