package bench

import (
	"context"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"tirl/internal/tool"
)

// ThisMachine says what the benchmarks run on.
func ThisMachine(ctx context.Context) (Machine, error) {
	m := Machine{Cores: runtime.NumCPU(), Arch: runtime.GOARCH, Versions: make(map[string]string)}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return m, os.NewSyscallError("uname", err)
	}
	m.Kernel = unix.ByteSliceToString(name.Release[:])
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return m, os.NewSyscallError("sysinfo", err)
	}
	m.Memory = int64(info.Totalram) * int64(info.Unit)
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(text)) {
		if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	for program, arg := range map[string]string{"nft": "-v", "iptables": "-V", "knockd": "-V", "fwknopd": "-V"} {
		if out, err := (tool.Host{}).Run(ctx, "", program, arg); err == nil {
			first, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
			m.Versions[program] = first
		}
	}
	m.Versions["go"] = runtime.Version()
	return m, nil
}
