//go:build !linux

package cli

import (
	"github.com/spf13/cobra"

	"tirl/internal/automaton"
	"tirl/internal/policy"
)

// posixLocale says that a locale which names no character set has only ASCII.
const posixLocale = false

// linuxCommands are none: there is no netfilter here.
func (a *app) linuxCommands() []*cobra.Command { return nil }

// audit says nothing: a policy is never for a host of this kind.
func (a *app) audit(*document) policy.Diagnostics { return nil }

// keyFindings are none, for the same reason.
func (a *app) keyFindings(*document, *automaton.Program, bool) policy.Diagnostics { return nil }

// facts are none, for the same reason.
func (a *app) facts() policy.Host { return policy.Host{} }
