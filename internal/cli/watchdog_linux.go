package cli

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"tirl/internal/confirm"
)

// watchdogCommand is what apply starts. Whoever stops it takes the load back.
func (a *app) watchdogCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "watchdog ID",
		Short: "Take a load back unless it is confirmed",
		Long: `Wait until the load with this ID is confirmed, and take it back when its time is
over. apply starts this by itself, before it loads anything. Stopped with
SIGTERM, it takes the load back at once.`,
		Example: `  systemctl status 'tirl-rollback-*'`,
		GroupID: groupLoad,
		Hidden:  true,
		Args:    cobra.ExactArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGPIPE, syscall.SIGTSTP)
			// Of all processes this one must not be chosen when memory is short,
			// proc_pid_oom_score_adj(5).
			_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
			ctx, stop := signal.NotifyContext(context.WithoutCancel(cmd.Context()), syscall.SIGTERM)
			defer stop()
			return a.engine().Watch(ctx, args[0], func(err error) { a.warn("%v", err) })
		}),
	}
}

// launch starts the watchdog of a load.
func (a *app) launch(ctx context.Context, id string) error {
	// What is running is this very file, even if a later one has taken its place.
	self, err := os.Executable()
	if err != nil {
		return err
	}
	self = strings.TrimSuffix(self, " (deleted)")
	args := []string{self, "watchdog", id}
	if a.dir != "" {
		root, err := filepath.Abs(a.dir)
		if err != nil {
			return err
		}
		args = append(args, "--root", root)
	}
	return confirm.Launch(ctx, "tirl-rollback-"+strings.ToLower(id), args...)
}
