package proxies_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// programs is a temporary directory.
var programs string

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "pond"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(programs) // the system removes it otherwise
	os.Exit(code)
}

// program builds pond and returns the file name.
var program = sync.OnceValues(func() (string, error) {
	file := filepath.Join(programs, "pond")
	out, err := exec.Command("go", "build", "-o", file, "github.com/pondsocket/pond/cmd/pond").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return file, nil
})

// askDoctor starts pond doctor. problems waits for it and returns the problems and warnings,
// by the names of the checks.
func (s *site) askDoctor(t *testing.T, args ...string) (problems func() map[string]string) {
	t.Helper()
	pond, err := program()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), pond, append([]string{"doctor", "-json", "https://" + s.addr + "/api/socket"}, args...)...)
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+filepath.Join(s.dir, "cert.pem"))
	cmd.Stdout, cmd.Stderr = &out, t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() map[string]string {
		t.Helper()
		_ = cmd.Wait() // the findings contain the problems
		var report struct {
			Findings []struct{ Check, Severity, Text string }
		}
		if err := json.Unmarshal(out.Bytes(), &report); err != nil {
			t.Fatalf("%v\n%s", err, out.Bytes())
		}
		if len(report.Findings) == 0 {
			t.Fatal("the doctor reports no findings")
		}
		found := map[string]string{}
		for _, f := range report.Findings {
			t.Logf("%-8s %-18s %s", f.Severity, f.Check, f.Text)
			if f.Severity != "ok" && f.Check != "tls" && f.Check != "this machine" { // these do not depend on the proxy
				found[f.Check] = f.Severity + ": " + f.Text
			}
		}
		return found
	}
}

// An nginx with default settings passes event streams, because a response header disables
// buffering. If nginx ignores this header, event streams do not work either.
func TestDoctorFindsMissingSettings(t *testing.T) {
	p := proxies[0]
	p.config = "testdata/plain.conf"
	p.replace = func(s *site) []string { return proxies[0].replace(s)[:8] } // the file has no timeout
	for name, test := range map[string]struct{ frame, stream string }{
		"plain":    {nginxFrame, ""},
		"ignoring": {strings.Replace(nginxFrame, "%s", "proxy_ignore_headers X-Accel-Buffering;\n%s", 1), "buffers the stream"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := p
			p.frame = test.frame
			s := newSite(t, p, newServer(t, "127.0.0.1:0").addr)
			problems := s.askDoctor(t, "-idle", "0", "-timeout", "10s")()
			if got := problems["websocket"]; !strings.Contains(got, "HTTP/1.0") {
				t.Errorf("WebSocket: %q", got)
			}
			if got := problems["same origin"]; test.stream == "" && !strings.Contains(got, "403") {
				t.Errorf("Host: %q", got)
			}
			if got := problems["event stream"]; !strings.Contains(got, test.stream) || (got == "") != (test.stream == "") {
				t.Errorf("event stream: %q", got)
			}
		})
	}
}
