package install_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const unitDir = "../../dist/systemd"

// others are firewalls, and what cloud images bring, with the order that their
// packages give them.
var others = map[string]string{
	"nftables.service":             early,
	"iptables.service":             early,
	"ip6tables.service":            early,
	"netfilter-persistent.service": early,
	"ufw.service":                  early,
	"firewalld.service":            "[Unit]\nBefore=network-pre.target\nWants=network-pre.target\nAfter=dbus.service\n" + once,
	"networking.service":           "[Unit]\nDefaultDependencies=no\nAfter=local-fs.target network-pre.target\nBefore=network.target\nWants=network.target\n" + once,
	"docker.service":               "[Unit]\nAfter=network-online.target firewalld.service\nWants=network-online.target\n" + once,
}

const (
	once  = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
	early = "[Unit]\nDefaultDependencies=no\nBefore=network-pre.target shutdown.target\nWants=network-pre.target\nConflicts=shutdown.target\n" + once
)

// units copies the units to where they can be verified beside others.
func units(t *testing.T, others map[string]string) (string, []string) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	script, err := filepath.Abs("../../dist/load")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var names []string
	paths, err := filepath.Glob(unitDir + "/*")
	if err != nil || len(paths) != 6 {
		t.Fatalf("%v, %v", paths, err)
	}
	for _, path := range paths {
		if filepath.Ext(path) == ".conf" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, filepath.Base(path))
		text = bytes.ReplaceAll(text, []byte("/usr/lib/tirl/load"), []byte(script))
		// The program may be installed anywhere in the PATH of systemd, or not at all.
		text = bytes.ReplaceAll(text, []byte("ExecStart=tirl "), []byte("ExecStart=true "))
		write(t, filepath.Join(dir, filepath.Base(path)), string(text))
	}
	for name, text := range others {
		write(t, filepath.Join(dir, name), text)
		wants := filepath.Join(dir, "multi-user.target.wants")
		if err := os.MkdirAll(wants, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../"+name, filepath.Join(wants, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, names
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func analyze(dir string, args ...string) (string, error) {
	cmd := exec.Command("systemd-analyze", args...)
	cmd.Dir = dir
	// The empty last element stands for the usual directories.
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// What is wrong with units of the machine is no concern of ours.
func ours(out string) string {
	var kept []string
	for line := range strings.Lines(out) {
		if strings.Contains(line, "tirl") || strings.Contains(line, "ordering cycle") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func TestUnitsVerify(t *testing.T) {
	dir, names := units(t, nil)
	for _, name := range names {
		if out, err := analyze(dir, "verify", "--man=no", "./"+name); err != nil || ours(out) != "" {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// Beside all the firewalls at once there is no ordering cycle.
func TestUnitsVerifyBesideOthers(t *testing.T) {
	dir, names := units(t, others)
	for _, name := range append(names, "multi-user.target") {
		if name != "multi-user.target" {
			name = "./" + name
		}
		if out, _ := analyze(dir, "verify", "--man=no", name); ours(out) != "" {
			t.Errorf("%s:\n%s", name, ours(out))
		}
	}
	// The test would see one.
	write(t, filepath.Join(dir, "nftables.service"), strings.Replace(early, "[Unit]\n", "[Unit]\nAfter=network-online.target\n", 1))
	if out, _ := analyze(dir, "verify", "--man=no", "multi-user.target"); !strings.Contains(ours(out), "ordering cycle") {
		t.Errorf("no cycle is found:\n%s", out)
	}
}

func TestUnitsSecurity(t *testing.T) {
	dir, names := units(t, nil)
	for _, name := range names {
		if !strings.HasSuffix(name, ".service") {
			continue
		}
		// An exposure of at most 3.0 of 10.
		if out, err := analyze(dir, "security", "--offline=true", "--no-pager", "--threshold=30", "./"+name); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// Both services are fenced in alike.
func TestUnitsAgree(t *testing.T) {
	var sections []string
	for _, name := range []string{"tirl.service", "tirl-heal.service"} {
		text, err := os.ReadFile(unitDir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(text), "# CAP_NET_RAW")
		if !ok {
			t.Fatalf("%s: no capabilities", name)
		}
		rest, _, _ = strings.Cut(rest, "\n[Install]")
		sections = append(sections, strings.TrimSpace(rest))
	}
	if sections[0] != sections[1] {
		t.Errorf("%s\n\nand\n\n%s", sections[0], sections[1])
	}
}
