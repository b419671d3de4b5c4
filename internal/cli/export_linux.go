package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tirl/internal/handout"
	"tirl/internal/host"
	"tirl/internal/knock"
	"tirl/internal/onetime"
	"tirl/internal/policy"
	"tirl/internal/pool"
)

type exportFlags struct {
	policy, name string
	addresses    []string
	qr, asJSON   bool
}

func (a *app) exportCommand() *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:   "export [USER | DOOR...]",
		Short: "Print what a client needs",
		Long: `Print the entry of a client's hosts file for some doors of this host, or for all
of them, and, as comments below it, the lines that knock at each address from a
machine without tirl: with knockd's client, with nc, and with Windows PowerShell.
With --qr the entry is a QR code for the terminal.

Of a user it prints the entry with his secret, for all doors that he opens. It is
for one machine: each further one is a user of its own. A user and a door of the
same name are told apart as DOOR/USER.

The entry has this host's addresses, so that a client asks no name server, which
would learn when somebody knocks, and could send the knocks elsewhere. They are
those of the network cards by which the host reaches the world. A host behind a
translating router does not know its outer address: give it with --address.

What is printed is secret: it opens the door.`,
		Example: `  sudo tirl export ssh
  sudo tirl export ssh --qr
  sudo tirl export alice --qr
  ssh root@web tirl export --name web ssh >> ~/.config/tirl/hosts.toml
  sudo tirl export --address 198.51.100.7 --address 2001:db8::7`,
		GroupID: groupClient,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return append(a.completeDoors(f.policy), a.completeUsers(f.policy)...), cobra.ShellCompDirectiveNoFileComp
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

func (a *app) export(names []string, f exportFlags) error {
	d, err := a.sound(f.policy)
	if err != nil {
		return err
	}
	users, err := exportedUsers(d.policy, names)
	if err != nil {
		return err
	}
	self, err := a.self(f)
	if err != nil {
		return err
	}
	var h *handout.Handout
	if len(users) > 0 {
		h, err = a.handUser(d.policy, self, users)
	} else {
		h, err = handout.New(d.policy, self, names...)
	}
	if _, told := errors.AsType[*failure](err); err != nil && !told {
		return fail(exitFailed, fmt.Errorf("describe this host to its clients: %w", err), "give it another name: tirl export --name web")
	}
	if err != nil {
		return err
	}
	switch {
	case f.asJSON:
		return a.printJSON(newExportJSON(h))
	case f.qr:
		return h.WriteQR(a.out, a.style().On())
	}
	return h.WriteText(a.out)
}

// exportedUsers gives the users that the names stand for; none if they are doors.
func exportedUsers(p *policy.Policy, names []string) ([]pool.Name, error) {
	var users []pool.Name
	for _, name := range names {
		door, user, one := strings.Cut(name, "/")
		found := usersNamed(p, name)
		if one {
			found = slices.DeleteFunc(usersNamed(p, user), func(n pool.Name) bool { return n.Door != door })
		}
		isDoor := doorOf(p, name) != nil
		switch {
		case isDoor && len(found) > 0:
			return nil, usage(fmt.Sprintf("tirl export %s/%s", found[0].Door, name), "%q is a door and a user", name)
		case !isDoor && len(found) == 0:
			what := "only " + doorNames(p.Doors)
			if usersNamed(p, "") != nil {
				what += ", and no such user"
			}
			return nil, usage("tirl export "+p.Doors[0].Name, "the policy has no door %q, %s", name, what)
		case len(found) > 0 && len(names) > 1:
			return nil, usage("tirl export "+name, "a user is exported alone: what is printed is for one machine")
		}
		users = append(users, found...)
	}
	return users, nil
}

// handUser describes this host to one user.
func (a *app) handUser(p *policy.Policy, self policy.Remote, users []pool.Name) (*handout.Handout, error) {
	has := make(map[string]policy.Credential)
	for _, n := range users {
		c, err := credential(pool.Dir{Root: a.dir}, n)
		if err != nil {
			if errors.Is(err, fs.ErrPermission) {
				return nil, fail(exitFailed, err, "sudo tirl "+commandLine(a.args))
			}
			return nil, err
		}
		has[n.Door] = c
	}
	return handout.NewUser(p, self, has)
}

// self is this host as its clients know it.
func (a *app) self(f exportFlags) (self policy.Remote, err error) {
	self.Name = f.name
	if self.Addresses, err = a.ownAddresses(f.addresses); err != nil || self.Name != "" {
		return self, err
	}
	if self.Name, err = os.Hostname(); err != nil {
		return self, fail(exitFailed, fmt.Errorf("find this host's name: %w", err), "give one: tirl export --name web")
	}
	if first, _, ok := strings.Cut(self.Name, "."); ok && first != "" {
		self.Name, self.Names = first, []string{self.Name}
	}
	return self, nil
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
	Knocks  []string `json:"knocks,omitempty"`
	Once    bool     `json:"once"`
	OpenFor float64  `json:"open_for_seconds"` // 0 if once
	// User is what opens the door instead of knocks.
	User *exportUser `json:"user,omitempty"`
}

// exportUser has what the entry of a hosts file has, by the same names.
type exportUser struct {
	OneTime string `json:"one_time"`
	Secret  string `json:"secret"`
	First   string `json:"first,omitempty"`
	Length  int    `json:"length,omitempty"`
	Ports   string `json:"ports"`
	Pool    int    `json:"pool"`
	Start   uint64 `json:"start"`
}

func newExportUser(c *policy.Credential) *exportUser {
	u := &exportUser{OneTime: string(c.Kind), Secret: onetime.Secret(c.Secret).Text(), Length: c.Length, Ports: c.Ports.String(), Pool: c.Pool, Start: c.Start}
	if c.Kind == policy.Sequence {
		u.First = c.First.String()
	}
	return u
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
		if d.Credential != nil {
			door.User = newExportUser(d.Credential)
		}
		out.Doors = append(out.Doors, door)
	}
	out.Lines = []exportLine{}
	for _, l := range h.Lines() {
		out.Lines = append(out.Lines, exportLine{l.Tool, l.Door, l.Address, l.Command})
	}
	return out
}
