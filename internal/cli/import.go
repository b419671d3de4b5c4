package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"tirl/internal/host"
	"tirl/internal/importer"
	"tirl/internal/knockd"
	"tirl/internal/policy"
	"tirl/internal/term"
)

// importCommand has a command for each kind of file.
func (a *app) importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Make a policy out of another tool's configuration",
		Long: `Make a policy out of the configuration of another tool. The policy goes to standard
output, with remarks; what is to be said about it also to standard error, each
with its place in the file that was read. Nothing is guessed: what cannot be
carried over stays in the policy as a comment, and the exit status is 5.`,
		Example: `  tirl import knockd /etc/knockd.conf > policy.toml
  tirl import iptables knock.sh > policy.toml
  sudo nft list ruleset | tirl import nftables - > policy.toml`,
		GroupID: groupSetup,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(a.importKnockdCommand(), a.importIptablesCommand(), a.importNftablesCommand())
	return cmd
}

func (a *app) importKnockdCommand() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "knockd FILE",
		Short: "Make a policy out of knockd.conf",
		Long: `Make a policy out of a configuration of knockd 0.8, read exactly as knockd reads
it. The name - stands for standard input.

Commands of iptables, ip6tables, ufw, firewall-cmd, nft and knock_helper_ipt.sh
say what a door opens; stop_command and cmd_timeout, for how long. A section that
only closes what another opens becomes a part of that door. Other commands are
never run by tirl: they are named, and left out.

Exit status: 4 if knockd would refuse the file, 5 if something in it could not be
carried over and is a comment in the policy.`,
		Example: `  tirl import knockd /etc/knockd.conf > policy.toml
  tirl import knockd --no-host - < knockd.conf`,
		Args:              oneSource,
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
		RunE:              a.run(func(_ *cobra.Command, args []string) error { return a.importKnockd(f, args[0]) }),
	}
	f.add(cmd)
	return cmd
}

// importFlags are those of every kind of file.
type importFlags struct{ noHost, asJSON bool }

func (f *importFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.noHost, "no-host", false, "look at the file alone: it is for another host")
	jsonFlag(cmd, &f.asJSON)
}

// oneSource is for commands that read one file, or standard input.
func oneSource(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("see "+cmd.CommandPath()+" --help", "name one file, or - for standard input")
	}
	return nil
}

func (a *app) importKnockd(f importFlags, file string) error {
	text, err := a.readImport(file, "configuration")
	if err != nil {
		return err
	}
	name := displayName(file)
	done := a.busy("reading " + name)
	defer done()
	config, found := knockd.Parse(name, text)
	if found.HasErrors() {
		return a.refused(name, found)
	}
	r := importer.Knockd(name, config, a.importHost(f))
	done()
	return a.imported(f, file, r)
}

// busy says on a terminal that work goes on whose length nobody knows, until it is done.
func (a *app) busy(what string) (done func()) {
	line := term.NewLine(a.err, a.getenv)
	begun, stop := time.Now(), make(chan struct{})
	go func() {
		tick := time.NewTicker(time.Second / 4)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case now := <-tick.C:
				line.Show(func() string { return fmt.Sprintf("%s: %s", what, now.Sub(begun).Truncate(time.Second)) })
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(stop)
		line.Done()
	})
}

// readImport reads what is to be imported.
func (a *app) readImport(file, what string) ([]byte, error) {
	text, err := a.readFile(file)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fail(exitFailed, fmt.Errorf("read the %s: %w", what, err), "sudo tirl "+commandLine(a.args))
	} else if err != nil {
		return nil, fmt.Errorf("read the %s: %w", what, err)
	}
	if len(text) > policy.MaxSize {
		return nil, fmt.Errorf("read %s: it has more than %d bytes", displayName(file), policy.MaxSize)
	}
	return text, nil
}

// refused says why the tool itself would not take the file.
func (a *app) refused(name string, errs policy.Diagnostics) error {
	if err := errs.Write(a.err, diagnosticStyle(term.StyleOf(a.err, a.colour, a.getenv))); err != nil {
		return err
	}
	return fail(exitInvalid, fmt.Errorf("%s has %s", name, plural(len(errs), "error")), "")
}

// imported prints what became of a file.
func (a *app) imported(f importFlags, file string, r *importer.Result) error {
	if f.asJSON {
		if err := a.printJSON(importJSON(file, r)); err != nil {
			return err
		}
	} else {
		if err := a.print(string(r.Text)); err != nil {
			return err
		}
		if err := r.Found.Write(a.err, diagnosticStyle(term.StyleOf(a.err, a.colour, a.getenv))); err != nil {
			return err
		}
	}
	if r.Proof != nil && !f.asJSON {
		for _, line := range r.Proof.Told {
			a.note("%s", line)
		}
	}
	if r.Left == 0 && r.Policy != nil {
		a.hint("read the remarks in the policy; then: tirl check")
		return nil
	}
	what := plural(r.Left, "thing") + " could not be carried over"
	switch {
	case r.Left == 0:
		a.warn("%s has no door", displayName(file))
		return quiet(exitFindings)
	case r.Policy == nil:
		what = "no door could be carried over"
	}
	a.warn("%s; see the comments in the policy", what)
	return quiet(exitFindings)
}

type importReport struct {
	File        string             `json:"file"`
	Policy      string             `json:"policy"` // the text of the policy file
	Doors       []string           `json:"doors"`  // that were carried over
	Left        int                `json:"left"`   // things that were not
	Diagnostics policy.Diagnostics `json:"diagnostics"`
	Proof       *proofReport       `json:"proof,omitempty"`
}

func importJSON(file string, r *importer.Result) importReport {
	out := importReport{File: file, Policy: string(r.Text), Doors: []string{}, Left: r.Left, Diagnostics: r.Found, Proof: proofJSON(r.Proof)}
	if out.Diagnostics == nil {
		out.Diagnostics = policy.Diagnostics{}
	}
	if r.Policy != nil {
		for _, d := range r.Policy.Doors {
			out.Doors = append(out.Doors, d.Name)
		}
	}
	return out
}

// importHost gathers what is known of this host, if the file is for it.
func (a *app) importHost(f importFlags) *importer.Host {
	if f.noHost || runtime.GOOS != "linux" {
		return nil
	}
	facts, err := host.Read(os.DirFS("/"))
	if err != nil {
		a.warn("some of this host's facts are left out: %v", err)
	}
	h := &importer.Host{Audit: facts}
	links, err := net.Interfaces()
	if err != nil {
		a.warn("the interfaces of this host are not known: %v", err)
		return h
	}
	for _, l := range links {
		h.Interfaces = append(h.Interfaces, l.Name)
		addrs, err := l.Addrs()
		if err != nil {
			continue // it has gone since
		}
		for _, addr := range addrs {
			n, ok := addr.(*net.IPNet)
			h.HasIPv6 = h.HasIPv6 || ok && n.IP.To4() == nil && n.IP.IsGlobalUnicast()
		}
	}
	return h
}
