package session

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"tirl/internal/procnet"
)

// Gateways lists the addresses of the host's default gateways, those of the main
// routing tables. What can be read is returned along with the errors.
func Gateways(root fs.FS) ([]netip.Addr, error) {
	var all []netip.Addr
	var errs []error
	for _, table := range []struct {
		name  string
		parse func(string) ([]netip.Addr, error)
	}{{"route", parseRoutes4}, {"ipv6_route", parseRoutes6}} {
		text, err := fs.ReadFile(root, procnet.OfProcess+"/"+table.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a host without that family
		}
		var found []netip.Addr
		if err == nil {
			found, err = table.parse(string(text))
		}
		all = append(all, found...)
		errs = append(errs, err)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	if err := errors.Join(errs...); err != nil {
		return slices.Compact(all), fmt.Errorf("read the routing table: %w", err)
	}
	return slices.Compact(all), nil
}

// parseRoutes4 reads what fib_route_seq_show (net/ipv4/fib_trie.c) writes: a
// header, then device, destination, gateway, flags, refcount, use, metric, mask.
func parseRoutes4(table string) ([]netip.Addr, error) {
	var all []netip.Addr
	first := true
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if first || len(f) == 0 {
			first = false
			continue
		}
		if len(f) < 8 {
			return all, fmt.Errorf("%q is not a route", strings.TrimSpace(line))
		}
		gateway, err := procnet.ParseAddr(f[2])
		if err != nil {
			return all, err
		}
		if f[1] == "00000000" && f[7] == "00000000" && !gateway.IsUnspecified() {
			all = append(all, gateway)
		}
	}
	return all, nil
}

// parseRoutes6 reads what rt6_info_route (net/ipv6/route.c) writes: destination,
// its length, source, its length, gateway, metric, refcount, use, flags, device.
// Addresses are in the order of the network.
func parseRoutes6(table string) ([]netip.Addr, error) {
	var all []netip.Addr
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) < 10 {
			return all, fmt.Errorf("%q is not a route", strings.TrimSpace(line))
		}
		b, err := hex.DecodeString(f[4])
		if err != nil || len(b) != 16 {
			return all, fmt.Errorf("%q is not an address", f[4])
		}
		gateway, _ := netip.AddrFromSlice(b)
		if f[1] == "00" && strings.Trim(f[0], "0") == "" && !gateway.IsUnspecified() {
			all = append(all, gateway)
		}
	}
	return all, nil
}
