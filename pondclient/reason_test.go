package pondclient_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/pondsocket/pond/pondclient"
)

func TestRequirement9ReasonsAreTyped(t *testing.T) {
	type end struct {
		reason *pondclient.ConnectionError
		action pondclient.Action
	}
	tests := map[string]struct {
		refuse *refusal
		last   func(s *socket)
		opts   []pondclient.Option
		want   end
	}{
		"status": {
			refuse: &refusal{status: 410, text: "moved\naway"},
			want:   end{&pondclient.ConnectionError{Status: 410, Reason: "moved away"}, pondclient.Stop},
		},
		"advice": {
			refuse: &refusal{status: 503, text: "full", header: http.Header{"Retry-After": {"7"}}},
			want:   end{&pondclient.ConnectionError{Status: 503, Reason: "full", RetryAfter: 7 * time.Second}, pondclient.Retry},
		},
		"advice with a wrong clock": {
			refuse: &refusal{status: 503, header: http.Header{
				"Date": {"Mon, 01 Jan 1990 00:00:00 GMT"}, "Retry-After": {"Mon, 01 Jan 1990 00:00:09 GMT"},
			}},
			want: end{&pondclient.ConnectionError{Status: 503, RetryAfter: 9 * time.Second}, pondclient.Retry},
		},
		"advice beyond all reason": {
			refuse: &refusal{status: 503, header: http.Header{"Retry-After": {"9223372036854775807"}}},
			want:   end{&pondclient.ConnectionError{Status: 503, RetryAfter: 10 * time.Minute}, pondclient.Retry},
		},
		"page of a proxy": {
			refuse: &refusal{status: 502, text: "<html>", header: http.Header{"Content-Type": {"text/html"}}},
			want:   end{&pondclient.ConnectionError{Status: 502}, pondclient.Retry},
		},
		"close code": {
			last: func(s *socket) { s.closeWith(4404, "gone") },
			want: end{&pondclient.ConnectionError{Code: 4404, Reason: "gone"}, pondclient.Stop},
		},
		"close frame without a code": {
			last: func(s *socket) { s.closeWith(1005, "") },
			want: end{&pondclient.ConnectionError{Code: 1005}, pondclient.Retry},
		},
		"overridden": {
			refuse: &refusal{status: 404},
			opts: []pondclient.Option{pondclient.WithPolicy(func(e *pondclient.ConnectionError) pondclient.Action {
				if e.Status == 404 {
					return pondclient.Retry
				}
				return pondclient.DefaultAction(e)
			})},
			want: end{&pondclient.ConnectionError{Status: 404}, pondclient.Retry},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake) {
				if test.refuse != nil {
					f.refuseWith(func(*http.Request) *refusal { return test.refuse })
				}
				got := make(chan end, 1000)
				c := f.client(append(test.opts, pondclient.WithObserver(&pondclient.Observer{
					Disconnected: func(reason *pondclient.ConnectionError, action pondclient.Action, _ time.Duration) {
						got <- end{reason, action}
					},
				}))...)
				if test.last != nil {
					test.last(f.welcome())
				}
				e := <-got
				w := test.want
				if e.reason.Status != w.reason.Status || e.reason.Code != w.reason.Code || e.reason.Reason != w.reason.Reason ||
					e.reason.RetryAfter != w.reason.RetryAfter || e.action != w.action {
					t.Errorf("%v: %+v, want %v: %+v", e.action, e.reason, w.action, w.reason)
				}
				if w.action != pondclient.Stop {
					return
				}
				err := c.Ready(t.Context())
				isError(t, err, pondclient.ErrStopped)
				if reason, ok := errors.AsType[*pondclient.ConnectionError](err); !ok || reason != e.reason {
					t.Errorf("the error wraps %v", reason)
				}
				_, err = c.Join(t.Context(), "/chat/1")
				isError(t, err, pondclient.ErrStopped)
			})
		})
	}
}
