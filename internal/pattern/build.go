package pattern

import (
	"errors"
	"fmt"
	"strings"
)

// Build returns the path that the pattern matches with these values. It encodes all
// values except that of a wildcard. It returns an error if a value is missing, if a
// value is empty, except that of a '*' that is a whole segment, or if a wildcard's
// value does not fit the pattern. Values of other names are ignored.
//
// A wildcard's value may contain a query, which becomes the query of the path.
func (p *Pattern) Build(params map[string]string) (string, error) {
	built, err := p.build(params)
	if err != nil {
		return "", fmt.Errorf("pattern %q: %w", p.source, err)
	}
	return built, nil
}

func (p *Pattern) build(params map[string]string) (string, error) {
	var path strings.Builder
	for i, s := range p.head {
		if i > 0 {
			path.WriteByte('/')
		}
		if err := s.build(&path, params); err != nil {
			return "", err
		}
	}
	if p.wild >= 0 {
		value, ok := params[wildcard]
		if !ok {
			return "", errors.New(`missing value of "*"`)
		}
		path.WriteString(rooted(value))
	}
	for _, s := range p.tail {
		path.WriteByte('/')
		if err := s.build(&path, params); err != nil {
			return "", err
		}
	}
	if bare, _ := SplitAddress(path.String()); !p.walk(bare, nil) {
		return "", fmt.Errorf(`value %q of "*" does not fit`, params[wildcard])
	}
	return path.String(), nil
}

func (s segment) build(path *strings.Builder, params map[string]string) error {
	path.WriteString(s.text)
	if s.name == "" {
		return nil
	}
	value := params[s.name]
	if value == "" {
		return fmt.Errorf("missing value of %q", s.name)
	}
	if s.name == wildcard {
		path.WriteString(value)
	} else {
		encode(path, value)
	}
	return nil
}

// encode writes value as encodeURIComponent of JavaScript does. No function of
// net/url agrees with it on all characters.
func encode(path *strings.Builder, value string) {
	for _, c := range []byte(value) {
		if isLetter(c) || isDigit(c) || strings.IndexByte("-.!~*'()", c) >= 0 {
			path.WriteByte(c)
			continue
		}
		path.Write([]byte{'%', upperHex[c>>4], upperHex[c&0xF]})
	}
}
