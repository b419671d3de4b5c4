//go:build !linux

package cli

import "testing"

type privileged struct{ *testing.M }
