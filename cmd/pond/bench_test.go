package main

import (
	"bufio"
	"context"
	"flag"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/load"
)

// TestMain lets the test binary act as the server that bench starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == benchCommand.name {
		main()
	}
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("8") // most of the parallel tests wait
	}
	os.Exit(m.Run())
}

func TestBenchHelp(t *testing.T) {
	var stdout, stderr strings.Builder
	if code := run(t.Context(), []string{"help", "bench"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("exit code %d, stderr %q", code, stderr.String())
	}
	for _, s := range load.Scenarios {
		if !strings.Contains(stdout.String(), "\n  "+string(s)+" ") {
			t.Errorf("%s is missing in\n%s", s, stdout.String())
		}
	}
}

func TestBenchDocumentHasAllFlags(t *testing.T) {
	doc, err := os.ReadFile("../../docs/bench.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range benchCommand.flags() {
		if !strings.Contains(string(doc), "`-"+f.Name) {
			t.Errorf("-%s is missing", f.Name)
		}
	}
	for _, s := range load.Scenarios {
		if !strings.Contains(string(doc), "\n| `"+string(s)+"` | ") {
			t.Errorf("%s is missing", s)
		}
	}
}

func TestBenchServes(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	out, stdout := io.Pipe()
	exit := make(chan int, 1)
	go func() {
		defer stdout.Close()
		exit <- run(ctx, []string{"bench", "-serve", "127.0.0.1:0"}, stdout, t.Output())
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "pond bench: http://127.0.0.1:") || !strings.HasSuffix(line, "/socket (Ctrl+C stops)\n") {
		t.Errorf("%q, %v", line, err)
	}
	stop()
	if code := <-exit; code != 0 {
		t.Errorf("exit code %d", code)
	}

	var stderr strings.Builder
	if code := run(t.Context(), []string{"bench", "-serve", "nonsense"}, io.Discard, &stderr); code != 1 || !strings.Contains(stderr.String(), "nonsense") {
		t.Errorf("exit code %d, stderr %q", code, stderr.String())
	}
}

// The server that bench starts runs commands, and ends with its parent process, because
// the system closes the pipe then.
func TestBenchServerEndsWithItsParent(t *testing.T) {
	commands, parent := io.Pipe()
	out, stdout := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serveBench(t.Context(), "127.0.0.1:0", commands, stdout, t.Output()) }()
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("no output")
	}
	for range 2 {
		if _, err := io.WriteString(parent, "gc\n"); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() || lines.Text() != "collected" {
			t.Fatalf("output %q", lines.Text())
		}
	}
	parent.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestBenchStartsAServer(t *testing.T) {
	s, err := startBenchServer(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.collect(); err != nil {
		t.Error(err)
	}
	if _, _, err := reach(t.Context(), strings.TrimSuffix(strings.TrimPrefix(s.url, "http://"), "/socket")); err != nil {
		t.Error(err)
	}
	if err := s.stop(); err != nil || s.cmd.ProcessState == nil || !s.cmd.ProcessState.Success() {
		t.Errorf("%v, %v", err, s.cmd.ProcessState)
	}
	if err := s.collect(); err == nil {
		t.Error("no error from collect after stop")
	}
}

func TestMeterOnATerminal(t *testing.T) {
	var b strings.Builder
	m := newMeter(&b, load.Config{Clients: 2000, Warmup: time.Second, Duration: 4 * time.Second})
	m.live = true
	now := time.Now()
	for _, tt := range []struct {
		after time.Duration
		p     load.Progress
		want  string
	}{
		{0, load.Progress{Phase: "connect", Joined: 500}, "connect   [#####...............]    0.0 s  500 of 2,000 clients"},
		{200 * time.Millisecond, load.Progress{Phase: "connect", Joined: 2000}, "connect   [####################]    0.2 s  2,000 of 2,000 clients"},
		{200 * time.Millisecond, load.Progress{Phase: "warm up", Joined: 2000, Deliveries: 1000}, "warm up   [....................]    0.0 s  5,000 deliveries/s"},
		{time.Second, load.Progress{Phase: "warm up", Joined: 2000, Deliveries: 1_001_000}, "warm up   [####################]    1.0 s  1,000,000 deliveries/s"},
		{time.Second, load.Progress{Phase: "measure", Joined: 2000, Deliveries: 1_001_000}, "measure   [....................]    0.0 s  0 deliveries/s"},
		{2 * time.Second, load.Progress{Phase: "measure", Joined: 2000, Deliveries: 1_001_500}, "measure   [##########..........]    2.0 s  250 deliveries/s"},
		{3 * time.Second, load.Progress{Phase: "measure", Joined: 2000, Deliveries: 1_001_500}, "measure   [####################]    5.0 s  0 deliveries/s"},
		{time.Second, load.Progress{Phase: "drain", Joined: 2000, Deliveries: 1_001_500}, "drain       0.0 s  0 deliveries/s"},
		{time.Second, load.Progress{Phase: "churn", Joined: 1000}, "churn     [....................]    0.0 s  1,000 of 2,000 clients"},
		{time.Second, load.Progress{Phase: "leave", Joined: 100}, "leave     [###################.]    0.0 s  100 of 2,000 clients"},
	} {
		b.Reset()
		now = now.Add(tt.after)
		m.show(now, tt.p)
		if got := b.String(); got != "\r\x1b[K"+tt.want {
			t.Errorf("%+v:\n%q, want\n%q", tt.p, got, tt.want)
		}
	}
	b.Reset()
	if m.clear(); b.String() != "\r\x1b[K" {
		t.Errorf("clear writes %q", b.String())
	}
}

func TestMeterWithoutATerminal(t *testing.T) {
	var b strings.Builder
	m := newMeter(&b, load.Config{Clients: 1, Messages: 100})
	now := m.logged
	for range 60 { // 12 seconds
		now = now.Add(200 * time.Millisecond)
		m.show(now, load.Progress{Phase: "measure", Joined: 1})
	}
	m.clear()
	const want = "measure     4.8 s  0 deliveries/s\nmeasure     9.8 s  0 deliveries/s\n"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}
