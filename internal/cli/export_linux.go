package cli

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tirl/internal/handout"
	"tirl/internal/host"
	"tirl/internal/knock"
	"tirl/internal/policy"
)

type exportFlags struct {
	policy, name string
	addresses    []string
	qr, asJSON   bool
}

func (a *app) exportCommand() *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:   "export [DOOR]...",
		Short: "Print what a client needs",
		Long: `Print the entry of a client's hosts file for some doors of this host, or for all
of them, and, as comments below it, the lines that knock at each address from a
machine without tirl: with knockd's client, with nc, and with Windows PowerShell.
With --qr the entry is a QR code for the terminal.

The entry has this host's addresses, so that a client asks no name server, which
would learn when somebody knocks, and could send the knocks elsewhere. They are
those of the network cards by which the host reaches the world. A host behind a
translating router does not know its outer address: give it with --address.

What is printed is secret: it opens the door.`,
		Example: `  sudo tirl export ssh
  sudo tirl export ssh --qr
  ssh root@web tirl export --name web ssh >> ~/.config/tirl/hosts.toml
  sudo tirl export --address 198.51.100.7 --address 2001:db8::7`,
		GroupID: groupClient,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return a.completeDoors(f.policy), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: a.run(func(_ *cobra.Command, args []string) error {
			if f.qr && f.asJSON {
				return usage("leave one of them out", "--qr and --json exclude each other")
			}
			return a.export(args, f)
		}),
	}
	policyFlag(cmd, &f.policy)
	f.add(cmd)
	jsonFlag(cmd, &f.asJSON)
	return cmd
}

// add adds the flags that describe this host to its clients.
func (f *exportFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.name, "name", "", "what clients call this host (default its host name)")
	cmd.Flags().StringArrayVar(&f.addresses, "address", nil, "an `address` of this host, instead of those found; may be repeated")
	cmd.Flags().BoolVar(&f.qr, "qr", false, "print the entry as a QR code")
}

func (a *app) export(doors []string, f exportFlags) error {
	d, err := a.sound(f.policy)
	if err != nil {
		return err
	}
	for _, door := range doors {
		if !slices.ContainsFunc(d.policy.Doors, func(d policy.Door) bool { return d.Name == door }) {
			return usage("tirl export "+d.policy.Doors[0].Name, "the policy has no door %q, only %s", door, doorNames(d.policy.Doors))
		}
	}
	self := policy.Remote{Name: f.name}
	if self.Addresses, err = a.ownAddresses(f.addresses); err != nil {
		return err
	}
	if self.Name == "" {
		if self.Name, err = os.Hostname(); err != nil {
			return fail(exitFailed, fmt.Errorf("find this host's name: %w", err), "give one: tirl export --name web")
		}
		if first, _, ok := strings.Cut(self.Name, "."); ok && first != "" {
			self.Name, self.Names = first, []string{self.Name}
		}
	}
	h, err := handout.New(d.policy, self, doors...)
	if err != nil {
		return fail(exitFailed, fmt.Errorf("describe this host to its clients: %w", err), "give it another name: tirl export --name web")
	}
	switch {
	case f.asJSON:
		return a.printJSON(newExportJSON(h))
	case f.qr:
		return h.WriteQR(a.out, a.style().On())
	}
	return h.WriteText(a.out)
}

// ownAddresses are those given, or else this host's own.
func (a *app) ownAddresses(given []string) (addrs []netip.Addr, err error) {
	for _, text := range given {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Is4In6() || addr.IsUnspecified() || addr.IsMulticast() {
			return nil, usage("tirl export --address 192.0.2.7", "--address %q is not the address of a host", text)
		}
		addrs = append(addrs, addr)
	}
	if len(addrs) > 0 {
		return addrs, nil
	}
	if addrs, err = host.Addresses(); err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, fail(exitFailed, errors.New("this host has no address that others could reach"), "give one: tirl export --address 192.0.2.7")
	}
	public4, any4 := false, netip.Addr{}
	for _, addr := range addrs {
		if addr.Is4() && !addr.IsPrivate() {
			public4 = true
		} else if addr.Is4() && !any4.IsValid() {
			any4 = addr
		}
	}
	if any4.IsValid() && !public4 {
		a.warn("%s is a private address: clients elsewhere reach this host at another one, if at all", any4)
		a.hint("give that one: tirl export --address 198.51.100.7")
	}
	return addrs, nil
}

// exportJSON is what export prints for programs.
type exportJSON struct {
	Name      string       `json:"name"`
	Names     []string     `json:"names"`
	Addresses []netip.Addr `json:"addresses"`
	Delay     float64      `json:"delay_seconds"` // between two knocks
	Doors     []exportDoor `json:"doors"`
	Lines     []exportLine `json:"lines"`
}

type exportDoor struct {
	Name    string   `json:"name"`
	Opens   []string `json:"opens"`
	Knocks  []string `json:"knocks"`
	Once    bool     `json:"once"`
	OpenFor float64  `json:"open_for_seconds"` // 0 if once
}

type exportLine struct {
	Tool    string     `json:"tool"`
	Door    string     `json:"door"`
	Address netip.Addr `json:"address"`
	Command string     `json:"command"` // empty: it cannot do it
}

func newExportJSON(h *handout.Handout) exportJSON {
	out := exportJSON{
		Name: h.Remote.Name, Names: append([]string{}, h.Remote.Names...), Addresses: h.Remote.Addresses,
		Delay: cmp.Or(h.Remote.Delay, knock.DefaultDelay).Seconds(),
	}
	for _, d := range h.Remote.Doors {
		door := exportDoor{Name: d.Name, Opens: rangeNames(d.Opens), Once: d.Once, OpenFor: d.OpenFor.Seconds()}
		for _, k := range d.Knocks {
			door.Knocks = append(door.Knocks, k.String())
		}
		out.Doors = append(out.Doors, door)
	}
	for _, l := range h.Lines() {
		out.Lines = append(out.Lines, exportLine{l.Tool, l.Door, l.Address, l.Command})
	}
	return out
}
