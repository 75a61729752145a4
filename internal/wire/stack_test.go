package wire

import (
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
)

// TestDecodeStack checks that Decode does not grow the stack of a read loop. A grown
// stack stays large while a client is idle.
func TestDecodeStack(t *testing.T) {
	const child = "POND_STACK_TEST"
	if os.Getenv(child) == "" {
		// The runtime must not start goroutines with a larger stack later, which can only be
		// set at its start.
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDecodeStack$")
		cmd.Env = append(os.Environ(), child+"=1", "GODEBUG=adaptivestackstart=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	valid := []byte(broadcast)
	invalid := []byte(strings.Replace(broadcast, "BROADCAST", "FOO", 1))
	idle := stackOf(func() {})
	for name, data := range map[string][]byte{"valid": valid, "invalid": invalid} {
		got := stackOf(func() { _, _ = Decode(data, Limits{Depth: 32}) })
		if got > idle*3/2 {
			t.Errorf("%s message: a stack of %d bytes, and of %d without", name, got, idle)
		}
	}
}

// stackOf returns the stack size of a goroutine after a call of f.
func stackOf(f func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it shrinks stacks
	const goroutines = 1000
	var before, after runtime.MemStats
	var called, done sync.WaitGroup
	release := make(chan struct{})
	called.Add(goroutines)
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range goroutines {
		done.Go(func() {
			f()
			called.Done()
			<-release
		})
	}
	called.Wait()
	runtime.ReadMemStats(&after)
	close(release)
	done.Wait()
	return (after.StackInuse - before.StackInuse) / goroutines
}
