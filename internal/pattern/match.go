package pattern

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Param is one value that a pattern found in a path.
type Param struct{ Name, Value string }

// Params are the values that a pattern found, in the order of the pattern. They
// share memory with the path.
type Params []Param

// Get returns the value of a parameter, or "" if the pattern does not have it.
// The name of the wildcard is "*".
func (ps Params) Get(name string) string {
	value, _ := ps.Lookup(name)
	return value
}

// Lookup returns the value of a parameter, and whether the pattern has it.
func (ps Params) Lookup(name string) (string, bool) {
	for _, p := range ps {
		if p.Name == name {
			return p.Value, true
		}
	}
	return "", false
}

// Match reports whether the pattern matches the whole path, which must not include a
// query, and returns the values. If the pattern has no parameters or does not match,
// the values are nil, and Match does not allocate.
func (p *Pattern) Match(path string) (Params, bool) {
	if p.values == 0 {
		return nil, path == p.literal
	}
	if !p.walk(path, nil) {
		return nil, false
	}
	params := make(Params, p.values)
	p.walk(path, params)
	return params, true
}

// walk matches path, and stores the values in params unless that is nil. Only a
// wildcard matches slashes, and there is at most one. So its value is the part between
// the segments on both sides, and no backtracking is necessary.
func (p *Pattern) walk(path string, params Params) bool {
	for i, s := range p.head {
		text, rest, more := strings.Cut(path, "/")
		if wantMore := p.wild >= 0 || i < len(p.head)-1; more != wantMore {
			return false
		}
		if !s.match(text, params) {
			return false
		}
		path = rest
	}
	if p.wild < 0 {
		return true
	}
	for _, s := range slices.Backward(p.tail) {
		slash := strings.LastIndexByte(path, '/')
		if slash < 0 || !s.match(path[slash+1:], params) {
			return false
		}
		path = path[:slash]
	}
	if strings.Contains(path, "\n") {
		return false
	}
	if params != nil {
		params[p.wild] = Param{wildcard, rooted(path)}
	}
	return true
}

func (s segment) match(text string, params Params) bool {
	value, ok := strings.CutPrefix(text, s.text)
	if !ok || (value != "") != (s.name != "") {
		return false
	}
	if s.name != "" && params != nil {
		if s.name != wildcard {
			value = Decode(value)
		}
		params[s.index] = Param{s.name, value}
	}
	return true
}

// Decode returns value with its percent sequences decoded. It returns value unchanged
// if it is malformed or the result is not valid UTF-8. Match decodes all values except
// that of a wildcard.
func Decode(value string) string {
	decoded, err := url.PathUnescape(value)
	if err != nil || !utf8.ValidString(decoded) {
		return value
	}
	return decoded
}

// rooted returns path with one leading slash, and with one slash instead of each run of
// slashes.
func rooted(path string) string {
	path = "/" + strings.TrimLeft(path, "/")
	if !strings.Contains(path, "//") {
		return path
	}
	single := make([]byte, 0, len(path))
	for i := range len(path) {
		if i == 0 || path[i] != '/' || path[i-1] != '/' {
			single = append(single, path[i])
		}
	}
	return string(single)
}
