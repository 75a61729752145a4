package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

func newExam(cfg Config, report func(Finding)) *exam {
	u := *cfg.URL
	u.Scheme = strings.Replace(u.Scheme, "ws", "http", 1)
	cfg.URL = &u
	return &exam{
		Config: cfg,
		report: report,
		client: newClient(cfg, true),
		http1:  newClient(cfg, false),
	}
}

func newClient(cfg Config, http2 bool) *http.Client {
	t := &http.Transport{
		Proxy:              http.ProxyFromEnvironment,
		DialContext:        cfg.Dial,
		DisableCompression: true, // or it would be undone, and hidden
		TLSClientConfig: &tls.Config{
			InsecureSkipVerify: cfg.Insecure, //nolint:gosec // only if the user says so, and then it is reported
		},
		Protocols: new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	t.Protocols.SetHTTP2(http2)
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// request makes a request to the endpoint, with the headers of the user and then
// those of the pairs: name, value, name, value.
func (x *exam) request(ctx context.Context, method, body string, pairs ...string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, x.URL.String(), strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = x.Header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		req.Header.Set(pairs[i], pairs[i+1])
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	return req, nil
}

// An answer is what a request got that is over with it.
type answer struct {
	status int
	header http.Header
	text   string // the beginning of the body
	proto  string
}

// String says what somebody answered, and who.
func (a answer) String() string {
	text := fmt.Sprintf("%d %s", a.status, http.StatusText(a.status))
	first, _, _ := strings.Cut(strings.TrimSpace(a.text), "\n")
	first = strings.TrimPrefix(first, fmt.Sprintf("%d ", a.status))
	if first != "" && !strings.HasPrefix(first, "<") && first != http.StatusText(a.status) {
		text = fmt.Sprintf("%d: %s", a.status, first[:min(len(first), 100)])
	}
	return text + a.server()
}

// server names who answers, as they do themselves.
func (a answer) server() string {
	if name := a.header.Get("Server"); name != "" {
		return " (" + name + ")"
	}
	return ""
}

// Error makes an answer that was not hoped for an error.
func (a answer) Error() string { return a.String() }

// taken reports whether the server did what it was asked for.
func (a answer) taken() bool { return a.status/100 == 2 }

func newAnswer(resp *http.Response) answer {
	const enough = 4 << 10
	text, _ := io.ReadAll(io.LimitReader(resp.Body, enough)) // what has come says enough
	return answer{resp.StatusCode, resp.Header, string(text), resp.Proto}
}

// ask makes a request that is answered and over.
func (x *exam) ask(ctx context.Context, method, body string, pairs ...string) (answer, error) {
	ctx, cancel := x.limit(ctx)
	defer cancel()
	req, err := x.request(ctx, method, body, pairs...)
	if err != nil {
		return answer{}, err
	}
	resp, err := x.client.Do(req)
	if err != nil {
		return answer{}, x.plain(err)
	}
	defer resp.Body.Close()
	return newAnswer(resp), nil
}

// errSilence is what waiting in vain ends with.
var errSilence = errors.New("no answer")

// plain returns err without the URL, which everybody knows.
func (x *exam) plain(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w within %v", errSilence, x.Timeout)
	}
	if inner, ok := errors.AsType[*url.Error](err); ok {
		return inner.Err
	}
	return err
}

// since is how long something took, in a form to be shown.
func since(start time.Time) time.Duration { return time.Since(start).Round(10 * time.Microsecond) }
