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

func newChecker(cfg Config, report func(Finding)) *checker {
	u := *cfg.URL
	u.Scheme = strings.Replace(u.Scheme, "ws", "http", 1)
	cfg.URL = &u
	return &checker{
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
		DisableCompression: true, // otherwise net/http would decompress, and hide it
		TLSClientConfig: &tls.Config{
			InsecureSkipVerify: cfg.Insecure, //nolint:gosec // only on request of the user, and reported
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

// request makes a request to the endpoint, with the headers of the user and then those of
// the pairs: name, value, name, value.
func (x *checker) request(ctx context.Context, method, body string, pairs ...string) (*http.Request, error) {
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

// An answer is a complete response.
type answer struct {
	status int
	header http.Header
	text   string // the start of the body
	proto  string
}

// String returns the status, the first line of the body, and the name of the server.
func (a answer) String() string {
	text := fmt.Sprintf("%d %s", a.status, http.StatusText(a.status))
	first, _, _ := strings.Cut(strings.TrimSpace(a.text), "\n")
	first = strings.TrimPrefix(first, fmt.Sprintf("%d ", a.status))
	if first != "" && !strings.HasPrefix(first, "<") && first != http.StatusText(a.status) {
		text = fmt.Sprintf("%d: %s", a.status, first[:min(len(first), 100)])
	}
	return text + a.server()
}

// server returns the name of the server from its header.
func (a answer) server() string {
	if name := a.header.Get("Server"); name != "" {
		return " (" + name + ")"
	}
	return ""
}

// Error makes an unexpected answer an error.
func (a answer) Error() string { return a.String() }

// accepted reports whether the request succeeded.
func (a answer) accepted() bool { return a.status/100 == 2 }

func newAnswer(resp *http.Response) answer {
	const enough = 4 << 10
	text, _ := io.ReadAll(io.LimitReader(resp.Body, enough)) // an incomplete text is enough
	return answer{resp.StatusCode, resp.Header, string(text), resp.Proto}
}

// ask sends a request and reads the response.
func (x *checker) ask(ctx context.Context, method, body string, pairs ...string) (answer, error) {
	ctx, cancel := x.limit(ctx)
	defer cancel()
	req, err := x.request(ctx, method, body, pairs...)
	if err != nil {
		return answer{}, err
	}
	resp, err := x.client.Do(req)
	if err != nil {
		return answer{}, x.withoutURL(err)
	}
	defer resp.Body.Close()
	return newAnswer(resp), nil
}

// errSilence means that nothing arrived within the timeout.
var errSilence = errors.New("no answer")

// withoutURL returns err without the URL, which the user knows.
func (x *checker) withoutURL(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w within %v", errSilence, x.Timeout)
	}
	if inner, ok := errors.AsType[*url.Error](err); ok {
		return inner.Err
	}
	return err
}

// since returns the time since start, rounded for display.
func since(start time.Time) time.Duration { return time.Since(start).Round(10 * time.Microsecond) }
