package vectors_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// A vector is one entry of testdata/vectors-client.json.
type vector struct {
	Name     string
	Input    json.RawMessage
	Expected json.RawMessage
}

// A vectorGroup says how to execute all vectors with a prefix, once in each mode.
type vectorGroup struct {
	prefix string
	count  int
	modes  []string
	run    func(t *testing.T, mode string, each eachVector)
}

// eachVector calls test for one vector after the other. A vector counts as executed
// when test returns.
type eachVector func(test func(v vector))

var (
	bothTransports = []string{string(pondtest.WebSocket), string(pondtest.SSE)}
	once           = []string{"once"}
)

var vectorGroups = []vectorGroup{
	{"inbound/", 49, []string{string(pondtest.WebSocket), kit.BinaryMessages, string(pondtest.SSE)}, runInbound},
	{"inbound-error/", 26, []string{string(pondtest.WebSocket), kit.BinaryMessages, string(pondtest.SSE)}, runInboundErrors},
	{"client-accepts/", 30, once, runClientAccepts},
	{"server-frame/", 24, bothTransports, runServerFrames},
	{"path/", 120, bothTransports, runPaths},
	{"build/", 14, once, runBuild},
	{"cookies/", 9, bothTransports, runCookies},
	{"sse-frame/", 10, once, runSSEFrames},
	{"sse-http/", 11, once, runSSEHTTP},
	{"sse-request-headers/", 2, once, runSSERequestHeaders},
	{"close-code/", 11, once, runCloseCodes},
}

// clientSide has the vectors that describe only clients, and the test that checks
// each of them instead.
var clientSide = map[string]string{
	"client-url/js-0":               officialClient,
	"client-url/js-1":               officialClient,
	"client-url/js-2":               officialClient,
	"client-url/js-3":               officialClient,
	"client-url/js-4":               officialClient,
	"backoff/js":                    officialClient,
	"backoff/go":                    "the delays of a client that this repository does not have",
	"backoff/python":                officialClient,
	"backoff/python-single-attempt": officialClient,
}

const officialClient = "what the official client does by itself: conformance runs that very client, " +
	"with parameters and through a restart of the server"

// deviations has the vectors that pond does not follow, with the reasons.
var deviations = map[string]string{
	"server-frame/join-undecided": "a join that no handler accepted is unauthorized, 401, as a connection is (rule S-4); " +
		"500 is for handlers that failed",
	"sse-http/get": "the headers of a stream have its connection ID, a secret, so Cache-Control is no-store besides; " +
		"the connection ends with the stream, so it is not kept alive",
	"close-code/0": "code 0 of Endpoint.Disconnect is the one nobody chose, and so a normal end",
}

// TestVectors executes all of testdata/vectors-client.json. It fails if a vector is
// not executed exactly once in each mode of its group.
func TestVectors(t *testing.T) {
	vectors := loadVectors(t)
	total := len(clientSide)
	for _, g := range vectorGroups {
		total += g.count
		for _, mode := range g.modes {
			t.Run(g.prefix+mode, func(t *testing.T) { runGroup(t, g, mode, vectors) })
		}
	}
	if total != len(vectors) {
		t.Errorf("%d vectors are checked, of %d", total, len(vectors))
	}
	for _, v := range vectors {
		_, elsewhere := clientSide[v.Name]
		here := slices.ContainsFunc(vectorGroups, func(g vectorGroup) bool { return strings.HasPrefix(v.Name, g.prefix) })
		if here == elsewhere {
			t.Errorf("%s: executed here %t, checked elsewhere %t", v.Name, here, elsewhere)
		}
	}
}

func runGroup(t *testing.T, g vectorGroup, mode string, vectors []vector) {
	executed := map[string]int{}
	g.run(t, mode, func(test func(v vector)) {
		for _, v := range vectors {
			if strings.HasPrefix(v.Name, g.prefix) {
				test(v)
				executed[v.Name]++
			}
		}
	})
	if len(executed) != g.count {
		t.Errorf("%d vectors were executed, want %d", len(executed), g.count)
	}
	for name, n := range executed {
		if n != 1 {
			t.Errorf("%s: executed %d times", name, n)
		}
	}
}

func loadVectors(t *testing.T) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors-client.json")
	if err != nil {
		t.Fatal(err)
	}
	vectors := kit.Decode[[]vector](t, data)
	names := map[string]bool{}
	for _, v := range vectors {
		if names[v.Name] {
			t.Errorf("%s: two vectors have this name", v.Name)
		}
		names[v.Name] = true
	}
	for name := range deviations {
		if !names[name] {
			t.Errorf("%s: a deviation without a vector", name)
		}
	}
	return vectors
}
