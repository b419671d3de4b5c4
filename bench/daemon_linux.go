package bench

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tirl/internal/lab"
	"tirl/internal/port"
	"tirl/internal/tool"
)

// How long a daemon may take until it listens.
const daemonPatience = 5 * time.Second

// daemon is a process that watches a server's device by libpcap and opens its
// firewall by running iptables.
type daemon struct {
	cmd   *exec.Cmd
	ended chan error
	dir   string
}

// What both daemons open: a firewall that lets nobody new in at the service, as
// knockd(1) and fwknopd(8) have it.
var shutByIptables = [][]string{
	{"-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"},
	{"-A", "INPUT", "-p", "tcp", "--dport", "22", "-j", "DROP"},
}

// startDaemon shuts the service and starts a daemon in a directory of its own, with
// these files. Of an argument @FILE is the path of a file in there.
func startDaemon(ctx context.Context, server *lab.Namespace, files map[string]string, name string, args ...string) (d *daemon, err error) {
	for _, rule := range shutByIptables {
		if _, err := server.Run(ctx, "", "iptables", rule...); err != nil {
			return nil, err
		}
	}
	d = &daemon{ended: make(chan error, 1)}
	if d.dir, err = os.MkdirTemp("", "tirl-bench-"); err != nil {
		return nil, fmt.Errorf("make a directory for %s: %w", name, err)
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(d.dir, file), []byte(text), 0o600); err != nil {
			return nil, errors.Join(fmt.Errorf("configure %s: %w", name, err), os.RemoveAll(d.dir))
		}
	}
	for i, arg := range args {
		if file, ok := strings.CutPrefix(arg, "@"); ok {
			args[i] = filepath.Join(d.dir, file)
		}
	}
	if err := d.run(ctx, server, name, args); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), os.RemoveAll(d.dir))
	}
	return d, nil
}

func (d *daemon) run(ctx context.Context, server *lab.Namespace, name string, args []string) error {
	log, err := os.Create(filepath.Join(d.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	d.cmd = tool.Command(ctx, name, args...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	// What it starts for each knock, and that leaves its session, ends with it
	// (pid_namespaces(7)).
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if err := server.Start(d.cmd); err != nil {
		return err
	}
	go func() { d.ended <- d.cmd.Wait() }()
	for deadline := time.Now().Add(daemonPatience); ; {
		listens, err := watches(server)
		if err != nil || listens {
			return err
		}
		select {
		case err := <-d.ended:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("ended at once (%v): %s", err, strings.TrimSpace(string(text)))
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("does not listen after %v", daemonPatience), d.Close())
		}
	}
}

// watches says whether anybody in the namespace has a packet socket (packet(7)).
func watches(n *lab.Namespace) (bool, error) {
	var text []byte
	err := n.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/packet")
		return err
	})
	return strings.Count(string(text), "\n") > 1, err
}

// Close ends the daemon and what it has started, and removes its files. What it has done to
// the firewall goes with the server.
func (d *daemon) Close() error {
	_ = d.cmd.Process.Kill()
	<-d.ended
	return os.RemoveAll(d.dir)
}

// startKnockd starts Debian's knockd with a door as knockd(1) has it in its example
// of one that closes again, but that the rule comes before the one that drops.
func startKnockd(ctx context.Context, server *lab.Namespace) (io.Closer, error) {
	words := make([]string, len(doorKnocks))
	for i, k := range doorKnocks {
		words[i] = fmt.Sprintf("%d:%s", k.Number, k.Proto)
	}
	conf := fmt.Sprintf(`[options]
	LogFile = /dev/null

[opencloseSSH]
	sequence      = %s
	seq_timeout   = 10
	tcpflags      = syn
	start_command = /usr/sbin/iptables -I INPUT -s %%IP%% -p tcp --dport 22 -j ACCEPT
	cmd_timeout   = 10
	stop_command  = /usr/sbin/iptables -D INPUT -s %%IP%% -p tcp --dport 22 -j ACCEPT
`, strings.Join(words, ","))
	d, err := startDaemon(ctx, server, map[string]string{"knockd.conf": conf}, "knockd", "-i", lab.ServerDevice, "-c", "@knockd.conf")
	if err != nil {
		return nil, err
	}
	return d, nil
}

// spaPort is where fwknop sends its packet, and the only port at which fwknopd
// looks (fwknop(8)).
const spaPort = 62201

// spa is a fwknopd and the keys that open it.
type spa struct {
	*daemon
	key, hmac string
}

// startFwknopd starts Debian's fwknopd as it comes, with keys of its own.
func startFwknopd(ctx context.Context, server *lab.Namespace) (io.Closer, error) {
	s := &spa{key: secret(32), hmac: secret(64)}
	access := fmt.Sprintf(`SOURCE            ANY
KEY_BASE64        %s
HMAC_KEY_BASE64   %s
OPEN_PORTS        tcp/22
FW_ACCESS_TIMEOUT 10
`, s.key, s.hmac)
	files := map[string]string{"access.conf": access, "fwknopd.conf": fmt.Sprintf("PCAP_INTF %s;\n", lab.ServerDevice)}
	var err error
	s.daemon, err = startDaemon(ctx, server, files, "fwknopd", "-f", "-c", "@fwknopd.conf", "-a", "@access.conf", "-r", "@run")
	if err != nil {
		return nil, err
	}
	return s, nil
}

// packet has the fwknop client make the packet that opens the service to a source.
func (s *spa) packet(ctx context.Context, src netip.Addr) (lab.Packet, error) {
	p := packetTo(src, port.Port{Proto: port.UDP, Number: spaPort})
	file := filepath.Join(s.dir, "packet")
	_, err := tool.Host{}.Run(ctx, "", "fwknop", "--no-rc-file", "--no-save-args", "--test", "--save-packet", file,
		"-A", "tcp/22", "-a", src.String(), "-D", lab.Server4().String(),
		"--key-base64-rijndael", s.key, "--use-hmac", "--key-base64-hmac", s.hmac)
	if err != nil {
		return p, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return p, fmt.Errorf("read the packet that fwknop has made: %w", err)
	}
	p.Untagged, p.Payload = true, []byte(strings.TrimSpace(string(data)))
	return p, nil
}

func secret(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // it never fails
	return base64.StdEncoding.EncodeToString(b)
}
