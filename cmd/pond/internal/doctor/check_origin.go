package doctor

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
)

// unknownOrigin is the origin of a page that no server allows.
const unknownOrigin = "https://pond-doctor.invalid"

// checkOrigins checks which pages may connect.
func (x *checker) checkOrigins(ctx context.Context) {
	x.checkOwnOrigin(ctx, sameOrigin, x.URL.Scheme+"://"+x.URL.Host,
		"make the proxy keep the header Host (nginx: proxy_set_header Host $http_host), or allow this origin (WithOrigins)")
	if x.Origin != "" && x.checkOwnOrigin(ctx, allowedOrigin, x.Origin, fmt.Sprintf("allow it in the server: WithOrigins(%q)", x.Origin)) {
		x.checkPreflight(ctx)
	}
	x.checkForeignOrigin(ctx)
}

// checkOwnOrigin checks that the server accepts pages of an origin.
func (x *checker) checkOwnOrigin(ctx context.Context, check Check, origin, fix string) bool {
	for name, err := range x.tryOrigin(ctx, origin) {
		if err != nil {
			x.problem(check, fmt.Sprintf("%s: pages of %s are rejected: %v", name, origin, x.withoutURL(err)), fix)
			return false
		}
	}
	x.ok(check, "pages of %s may connect", origin)
	return true
}

// checkForeignOrigin checks that the server rejects pages of an unknown origin.
func (x *checker) checkForeignOrigin(ctx context.Context) {
	var open []string
	for name, err := range x.tryOrigin(ctx, unknownOrigin) {
		if err == nil {
			open = append(open, name)
			continue
		}
		if _, ok := errors.AsType[answer](err); !ok {
			x.problem(foreignOrigin, name+": "+x.withoutURL(err).Error(), "the server should respond with 403 to an origin that it rejects")
			return
		}
	}
	const fix = "allow only the origins of your pages (WithOrigins), and make the proxy pass the header Origin"
	switch {
	case len(open) == 0:
		x.ok(foreignOrigin, "pages of %s are rejected", unknownOrigin)
	case x.Header.Get("Cookie") != "":
		x.problem(foreignOrigin, strings.Join(open, ", ")+": any page can connect with the cookies of its visitor", fix)
	default:
		x.warn(foreignOrigin, strings.Join(open, ", ")+": any page can connect; this is insecure if the server identifies clients by cookies or addresses", fix)
	}
}

// tryOrigin connects as a page of origin does, over each transport that works. It yields
// each attempt and its error.
func (x *checker) tryOrigin(ctx context.Context, origin string) iter.Seq2[string, error] {
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
			if yield("GET", err) && x.post {
				yield("POST", x.postFrom(ctx, origin))
			}
		}
	}
}

// postFrom sends a message as a page of origin does, with an open stream.
func (x *checker) postFrom(ctx context.Context, origin string) error {
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
	a, err := x.ask(ctx, http.MethodPost, invalidMessage("doctor", 0), "X-Connection-ID", s.secret, "Origin", origin)
	if err == nil && !a.accepted() {
		err = a
	}
	return err
}

// checkPreflight checks that browsers allow pages of the allowed origin to send the
// requests of an event stream.
func (x *checker) checkPreflight(ctx context.Context) {
	const fix = "make the proxy pass OPTIONS and not add CORS headers: the server adds them for WithOrigins"
	a, err := x.ask(ctx, http.MethodOptions, "", "Origin", x.Origin,
		"Access-Control-Request-Method", http.MethodDelete, "Access-Control-Request-Headers", "content-type,x-connection-id")
	if err != nil {
		x.problem(preflight, x.withoutURL(err).Error(), fix)
		return
	}
	methods, headers := a.header.Get("Access-Control-Allow-Methods"), a.header.Get("Access-Control-Allow-Headers")
	from := a.header.Values("Access-Control-Allow-Origin")
	switch {
	case !a.accepted():
		x.problem(preflight, "OPTIONS is rejected: "+a.String(), fix)
	case len(from) != 1 || from[0] != x.Origin && from[0] != "*":
		x.problem(preflight, fmt.Sprintf("Access-Control-Allow-Origin is %q", from), fix)
	case !strings.Contains(methods, http.MethodDelete):
		x.problem(preflight, fmt.Sprintf("Access-Control-Allow-Methods is %q", methods), fix)
	case !strings.Contains(strings.ToLower(headers), "x-connection-id"):
		x.problem(preflight, fmt.Sprintf("Access-Control-Allow-Headers is %q", headers), fix)
	default:
		x.ok(preflight, "OPTIONS allows POST and DELETE with X-Connection-ID")
	}
}
