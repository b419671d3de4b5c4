package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a completion script for a shell",
		Long: `Print the script that makes a shell complete the commands, flags and door names
of tirl. The shell reads it when it starts: put it where the shell looks.`,
		Example: `  tirl completion bash > ~/.local/share/bash-completion/completions/tirl
  tirl completion zsh > "${fpath[1]}/_tirl"
  tirl completion fish > ~/.config/fish/completions/tirl.fish`,
		GroupID:   groupSetup,
		ValidArgs: []cobra.Completion{"bash", "zsh", "fish", "powershell"},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("tirl completion bash|zsh|fish|powershell", "name one shell")
			}
			return nil
		},
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.out, true)
			case "zsh":
				return root.GenZshCompletion(a.out)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.out)
			}
			return fail(exitUsage, fmt.Errorf("there is no completion for %q", args[0]),
				"tirl completion bash|zsh|fish|powershell")
		}),
	}
}
