package docs_test

import (
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// A layer says which packages of this module one package of the library may import,
// and why no others. Tests may import any package.
type layer struct {
	may []string
	why string
}

// layers has every package of the library by its directory.
var layers = map[string]layer{
	"internal/pattern": {nil, "a matcher of names has no use for anything else"},
	"internal/strictjson": {
		nil, "whether a text is ambiguous depends on the text and a type, and not on who sent it",
	},
	"internal/wire": {nil, "messages are bytes and rules; who sends them is another matter"},
	"internal/ws":   {nil, "a codec without I/O serves TCP, TLS, pipes and fuzzers alike"},
	"internal/clusterwire": {
		nil, "messages between nodes are bytes and rules; brokers move them, and nodes give them a meaning",
	},
	"internal/cluster":     {nil, "queues, clocks and tables of a node are easier to test without channels"},
	"internal/descriptors": {nil, "it asks the system for a limit"},
	"internal/pipenet":     {nil, "it must behave like any other network"},
	"internal/transport": {
		[]string{"internal/ws"},
		"it moves bytes, and must not depend on channels or messages",
	},
	"internal/load": {
		[]string{"internal/ws"},
		"it measures any server, and must not share the mistakes of this one",
	},
	".": {
		[]string{"internal/cluster", "internal/clusterwire", "internal/descriptors", "internal/pattern", "internal/strictjson", "internal/transport", "internal/wire", "internal/ws"},
		"it must not depend on packages that are built on it",
	},
	"pondtest": {
		[]string{"internal/pipenet", "internal/ws"},
		"it tests any http.Handler, as a client observes it",
	},
	"internal/faultproxy": {nil, "it moves bytes, and must not depend on clients or servers"},
	"brokertest/memorybroker": {
		[]string{"."},
		"a broker depends only on the contract in the library",
	},
	"brokertest": {
		[]string{"."},
		"it tests any broker, and must not depend on one",
	},
	"internal/remotebroker": {
		[]string{"."},
		"it has the common parts of brokers, and does not depend on a backend",
	},
	"internal/testchat":   {[]string{"."}, "it uses the library as a program does"},
	"internal/logcheck":   {nil, "its rules apply to recordings of any test"},
	"internal/testserver": {[]string{"internal/faultproxy"}, "it runs any program"},
	"metrics": {
		[]string{"."},
		"it counts only notifications of the public API",
	},
	"natsbroker": {
		[]string{".", "internal/remotebroker"},
		"a broker depends only on the contract in the library",
	},
	"redisbroker": {
		[]string{".", "internal/remotebroker"},
		"a broker depends only on the contract in the library",
	},
	"pondclient": {
		[]string{".", "internal/wire", "internal/ws"},
		"it is a client for any server, and shares with this one only the types that both sides use",
	},
	"js": {nil, "it serves a file to browsers, and works with any server"},
	"internal/suite/kit": {
		[]string{".", "internal/pipenet", "internal/ws", "pondtest"},
		"it helps tests that use the library as its users do; ws decodes the bytes that a server writes, and pipenet moves them",
	},
}

// requires lists the modules that a package in a module of its own needs.
var requires = map[string]string{
	"metrics":     "github.com/prometheus/client_golang/...",
	"natsbroker":  "github.com/nats-io/nats.go",
	"redisbroker": "github.com/redis/rueidis",
}

// programs are commands, and packages in modules of their own. They have no layer.
var programs = []string{"cmd/...", "conformance/...", "examples/...", "bench/...", "internal/integration/..."}

// A ban lists names that production code must not use, with the reason.
type ban struct {
	pkg    string
	names  []string // names in pkg; if there are none, importing pkg is banned
	in     []string // directories; if there are none, all of them
	except []string // directories
	why    string
}

var bans = []ban{
	{
		pkg:    "testing/...",
		except: []string{"brokertest", "pondtest", "internal/suite/kit", "internal/testserver"},
		why:    "code that helps tests does not belong in a server",
	},
	{
		pkg:    "flag",
		except: programs,
		why:    "options are Go values; flags belong to programs",
	},
	{
		pkg:    "log",
		except: programs,
		why:    "log with log/slog, and the logger that the caller chose",
	},
	{
		pkg:    "os",
		names:  []string{"Args", "Environ", "Exit", "ExpandEnv", "Getenv", "LookupEnv"},
		except: programs,
		why:    "the environment and the end of a process belong to its program",
	},
	{
		pkg: "net",
		in:  []string{"internal/clusterwire", "internal/pattern", "internal/strictjson", "internal/wire", "internal/ws"},
		why: "a parser gets bytes and does no I/O",
	},
	{
		pkg:    "unsafe",
		except: []string{"internal/transport"}, // for one system call
		why:    "a mistake in the decoding of foreign bytes must at worst be a panic",
	},
}

// longest is the maximum number of lines in a file without an entry in tooLong.
const longest = 500

// tooLong has the longer files, with the reason for each.
var tooLong = map[string]string{}

func TestImportsPointDownwards(t *testing.T) {
	found := map[string]bool{}
	for _, f := range goFiles(t) {
		if f.test || within(f.dir, programs...) {
			continue
		}
		found[f.dir] = true
		l, ok := layers[f.dir]
		if !ok {
			t.Errorf("%s: package without a layer: say in %T what it may import, and why", f.path, l)
			continue
		}
		for _, imported := range f.imports() {
			dir, ours := ours(imported)
			switch {
			case ours && !slices.Contains(l.may, dir):
				t.Errorf("%s imports %s: %s", f.path, dir, l.why)
			case !ours && !standard(imported) && (requires[f.dir] == "" || !within(imported, requires[f.dir])):
				t.Errorf("%s imports %s: the library needs the standard library only", f.path, imported)
			}
		}
	}
	for dir := range layers {
		if !found[dir] {
			t.Errorf("%s: layer without a package", dir)
		}
	}
}

func TestNothingBannedIsUsed(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		for _, b := range bans {
			if len(b.in) > 0 && !within(f.dir, b.in...) || within(f.dir, b.except...) {
				continue
			}
			for _, imported := range f.imports() {
				if !within(imported, b.pkg) {
					continue
				}
				if b.names == nil {
					t.Errorf("%s imports %s: %s", f.path, imported, b.why)
				}
				for _, name := range b.names {
					if f.uses(imported, name) {
						t.Errorf("%s uses %s.%s: %s", f.path, imported, name, b.why)
					}
				}
			}
		}
	}
}

// In a bubble, sleeping takes no time. Elsewhere it makes a test slow and still
// unreliable on a slow machine, and it delays the shutdown of a server.
func TestNobodySleepsOutsideABubble(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.dir == "internal/integration/model" {
			continue // all its histories run in a bubble
		}
		imports := f.imports()
		if slices.Contains(imports, "testing/synctest") || slices.Contains(imports, module+"/pondtest") {
			continue
		}
		if f.uses("time", "Sleep") {
			t.Errorf("%s calls time.Sleep: wait for the event itself, or use testing/synctest", f.path)
		}
	}
}

func TestEveryPackageHasOneComment(t *testing.T) {
	comments := map[string][]string{} // by directory
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		comments[f.dir] = append(comments[f.dir], f.syntax.Doc.Text())
		if name := f.syntax.Name.Name; slices.Contains([]string{"util", "utils", "common", "helpers", "misc"}, name) {
			t.Errorf("%s: package %s: a package is named for what it provides", f.path, name)
		}
	}
	for dir, texts := range comments {
		texts = slices.DeleteFunc(texts, func(s string) bool { return s == "" })
		if len(texts) != 1 {
			t.Errorf("%s has %d package comments, want 1: they are shown joined, in the order of file names", dir, len(texts))
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	lines := map[string]int{}
	for _, f := range goFiles(t) {
		lines[f.path] = f.lines
		if f.lines > longest && tooLong[f.path] == "" {
			t.Errorf("%s has %d lines, more than %d: split it", f.path, f.lines, longest)
		}
	}
	for name := range tooLong {
		if lines[name] <= longest {
			t.Errorf("%s has %d lines and needs no exception", name, lines[name])
		}
	}
}

// Limits of the root folder, so that its listing shows the library.
const (
	mostEntries = 65
	mostTests   = 8 // files, examples included
)

func TestRootShowsTheLibrary(t *testing.T) {
	ignored, err := os.ReadFile(".gitignore")
	if err != nil {
		t.Fatal(err)
	}
	patterns := append(strings.Fields(string(ignored)), ".git")
	root, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var entries, tests []string
	for _, e := range root {
		name := e.Name()
		if slices.ContainsFunc(patterns, func(p string) bool {
			ok, err := path.Match(strings.Trim(p, "/"), name)
			return ok || err != nil
		}) {
			continue
		}
		entries = append(entries, name)
		if strings.HasSuffix(name, "_test.go") {
			tests = append(tests, name)
		}
	}
	if len(entries) > mostEntries {
		t.Errorf("the root folder has %d entries, want at most %d: %q", len(entries), mostEntries, entries)
	}
	if len(tests) > mostTests {
		t.Errorf("the root folder has %d test files, want at most %d: see internal/suite/README.md: %q", len(tests), mostTests, tests)
	}
}
