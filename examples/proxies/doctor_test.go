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

// programs is a directory, until the tests end.
var programs string

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "pond"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(programs) // or somebody else does
	os.Exit(code)
}

// program returns the file of pond, which it builds.
var program = sync.OnceValues(func() (string, error) {
	file := filepath.Join(programs, "pond")
	out, err := exec.Command("go", "build", "-o", file, "github.com/pondsocket/pond/cmd/pond").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return file, nil
})

// askDoctor starts pond doctor. problems waits for it, and returns what is not
// well, by the names of the checks.
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
		_ = cmd.Wait() // the exit code tells of problems, and so do the findings
		var report struct {
			Findings []struct{ Check, Severity, Text string }
		}
		if err := json.Unmarshal(out.Bytes(), &report); err != nil {
			t.Fatalf("%v\n%s", err, out.Bytes())
		}
		if len(report.Findings) == 0 {
			t.Fatal("the doctor finds nothing at all")
		}
		found := map[string]string{}
		for _, f := range report.Findings {
			t.Logf("%-8s %-18s %s", f.Severity, f.Check, f.Text)
			if f.Severity != "ok" && f.Check != "tls" && f.Check != "this machine" { // whose certificate and limits are no proxy's
				found[f.Check] = f.Severity + ": " + f.Text
			}
		}
		return found
	}
}

// An nginx that is told nothing passes event streams, because the server asks it
// to; and if it is told not to listen to the server, not even these.
func TestDoctorFindsWhatIsMissing(t *testing.T) {
	p := proxies[0]
	p.config = "testdata/plain.conf"
	p.replace = func(s *site) []string { return proxies[0].replace(s)[:8] } // there is no timeout in it
	for name, test := range map[string]struct{ frame, stream string }{
		"plain": {nginxFrame, ""},
		"deaf":  {strings.Replace(nginxFrame, "%s", "proxy_ignore_headers X-Accel-Buffering;\n%s", 1), "buffers the stream"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := p
			p.frame = test.frame
			s := newSite(t, p, newServer(t, "127.0.0.1:0").addr)
			problems := s.askDoctor(t, "-idle", "0", "-timeout", "2s")()
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
