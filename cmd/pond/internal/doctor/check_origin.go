package doctor

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
)

// strange is the origin of a page that nobody has allowed.
const strange = "https://pond-doctor.invalid"

// checkOrigins checks which pages may connect.
func (x *exam) checkOrigins(ctx context.Context) {
	x.checkOwnOrigin(ctx, sameOrigin, x.URL.Scheme+"://"+x.URL.Host,
		"let the proxy keep the header Host (nginx: proxy_set_header Host $http_host), or allow this origin (WithOrigins)")
	if x.Origin != "" && x.checkOwnOrigin(ctx, allowedOrigin, x.Origin, fmt.Sprintf("allow it in the server: WithOrigins(%q)", x.Origin)) {
		x.checkPreflight(ctx)
	}
	x.checkStrangeOrigin(ctx)
}

// checkOwnOrigin checks that pages of an origin are let in.
func (x *exam) checkOwnOrigin(ctx context.Context, check Check, origin, remedy string) bool {
	for name, err := range x.tryOrigin(ctx, origin) {
		if err != nil {
			x.problem(check, fmt.Sprintf("%s: pages of %s are refused: %v", name, origin, x.plain(err)), remedy)
			return false
		}
	}
	x.ok(check, "pages of %s may connect", origin)
	return true
}

// checkStrangeOrigin checks that pages of others are not.
func (x *exam) checkStrangeOrigin(ctx context.Context) {
	var open []string
	for name, err := range x.tryOrigin(ctx, strange) {
		if err == nil {
			open = append(open, name)
			continue
		}
		if _, ok := errors.AsType[answer](err); !ok {
			x.problem(foreignOrigin, name+": "+x.plain(err).Error(), "an origin that is refused should get 403")
			return
		}
	}
	const remedy = "allow the origins that you know (WithOrigins), and let the proxy pass the header Origin"
	switch {
	case len(open) == 0:
		x.ok(foreignOrigin, "pages of %s are refused", strange)
	case x.Header.Get("Cookie") != "":
		x.problem(foreignOrigin, strings.Join(open, ", ")+": any page can connect with the cookies of who looks at it", remedy)
	default:
		x.warn(foreignOrigin, strings.Join(open, ", ")+": any page can connect; a hole if cookies or the network say who a client is", remedy)
	}
}

// tryOrigin connects as a page of origin does over all that works, and yields
// what was tried and what came of it.
func (x *exam) tryOrigin(ctx context.Context, origin string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if x.webSocket {
			w, err := x.upgrade(ctx, "Origin", origin)
			if err == nil {
				w.close()
			}
			if !yield("WebSocket", err) {
				return
			}
		}
		if x.stream {
			s, err := x.open(ctx, "Origin", origin)
			if err == nil {
				s.close()
			}
			if yield("GET", err) {
				yield("POST", x.postFrom(ctx, origin))
			}
		}
	}
}

// postFrom sends a message as a page of origin does, over a stream that exists.
func (x *exam) postFrom(ctx context.Context, origin string) error {
	s, err := x.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	limited, cancel := x.limit(ctx)
	defer cancel()
	if _, err := s.hello(limited); err != nil {
		return err
	}
	a, err := x.ask(ctx, http.MethodPost, nonsense("doctor", 0), "X-Connection-ID", s.secret, "Origin", origin)
	if err == nil && !a.taken() {
		err = a
	}
	return err
}

// checkPreflight checks that browsers let pages of the allowed origin do what an
// event stream needs.
func (x *exam) checkPreflight(ctx context.Context) {
	const remedy = "let the proxy pass OPTIONS, and answer it only in one place: the server does so for WithOrigins"
	a, err := x.ask(ctx, http.MethodOptions, "", "Origin", x.Origin,
		"Access-Control-Request-Method", http.MethodDelete, "Access-Control-Request-Headers", "content-type,x-connection-id")
	if err != nil {
		x.problem(preflight, x.plain(err).Error(), remedy)
		return
	}
	methods, headers := a.header.Get("Access-Control-Allow-Methods"), a.header.Get("Access-Control-Allow-Headers")
	from := a.header.Values("Access-Control-Allow-Origin")
	switch {
	case !a.taken():
		x.problem(preflight, "OPTIONS is refused: "+a.String(), remedy)
	case len(from) != 1 || from[0] != x.Origin && from[0] != "*":
		x.problem(preflight, fmt.Sprintf("Access-Control-Allow-Origin is %q", from), remedy)
	case !strings.Contains(methods, http.MethodDelete):
		x.problem(preflight, fmt.Sprintf("Access-Control-Allow-Methods is %q", methods), remedy)
	case !strings.Contains(strings.ToLower(headers), "x-connection-id"):
		x.problem(preflight, fmt.Sprintf("Access-Control-Allow-Headers is %q", headers), remedy)
	default:
		x.ok(preflight, "OPTIONS allows POST and DELETE with X-Connection-ID")
	}
}
