package iptables

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/backend"
)

func TestSnapshotAndRestore(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.addOthers()
		ctx := t.Context()
		nothing, err := h.backend.Snapshot(ctx)
		if err != nil || !nothing.Empty() {
			t.Fatalf("nothing loaded: %+v, %v", nothing, err)
		}
		clean := h.save()
		h.load(guardPolicy)
		was := h.save()
		taken, err := h.backend.Snapshot(ctx)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(taken)
		if err != nil {
			t.Fatal(err)
		}
		var s backend.Snapshot
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		h.sendAll(knocks(1, false, udp(1001), udp(1009), udp(1005)))

		another := strings.Replace(guardPolicy, "1009", "1010", 1)
		for _, policy := range []string{reference(t), another} {
			h.load(policy)
			// Others go on meanwhile.
			h.run("iptables", "-I", "INPUT", "1", "-p", "tcp", "--dport", "77", "-j", "DROP")
			if err := h.backend.Restore(ctx, &s, 0); err != nil {
				t.Fatal(err)
			}
			theirs := "-A INPUT -p tcp -m tcp --dport 77 -j DROP\n"
			got := h.save()
			if !strings.Contains(got, theirs) {
				t.Errorf("what others added meanwhile is gone:\n%s", got)
			}
			if diff := cmp.Diff(was, strings.Replace(got, theirs, "", 1)); diff != "" {
				t.Errorf("restored (-before +after):\n%s", diff)
			}
			h.run("iptables", "-D", "INPUT", "1")
		}

		// A grant of a door that both policies have lives through both loads.
		h.sendAll(knocks(1, false, udp(1001), udp(1009), udp(1005)))
		h.load(another)
		h.sendAll(knocks(2, false, udp(1001), udp(1010), udp(1005)))
		if err := h.backend.Restore(ctx, &s, 0); err != nil {
			t.Fatal(err)
		}
		if got := h.loaded(); strings.Count(got, "granted") != 2 {
			t.Errorf("then %s", got)
		}
		if err := h.backend.Restore(ctx, nothing, 0); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(clean, h.save()); diff != "" {
			t.Errorf("nothing restored (-before +after):\n%s", diff)
		}
	})
}

// A restore that fails in the second family leaves both as they were.
func TestRestoreFails(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.load(guardPolicy)
		s, err := h.backend.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h.load(reference(t))
		was := h.save()
		b := New(failing{h.backend.run, func(name string, args []string) bool {
			return name == "ip6tables-restore" && !slices.Contains(args, "--test")
		}})
		if err := b.Restore(t.Context(), s, 0); err == nil {
			t.Fatal("no error")
		}
		if diff := cmp.Diff(was, h.save()); diff != "" {
			t.Errorf("it failed (-before +after):\n%s", diff)
		}
	})
}
