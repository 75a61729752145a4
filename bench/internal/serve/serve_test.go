package serve

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestObeyEndsWithItsInput(t *testing.T) {
	var out strings.Builder
	Obey(strings.NewReader("gc\nnonsense\ngc\n"), &out)
	if out.String() != "collected\ncollected\n" {
		t.Errorf("output %q", out.String())
	}
}

// forever is the standard input from a parent that hangs.
type forever struct{ end chan struct{} }

func (f forever) Read([]byte) (int, error) {
	<-f.end
	return 0, nil
}

func TestObeyEndsAfterItsLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := forever{make(chan struct{})}
		began := time.Now()
		Obey(in, nil)
		if lived := time.Since(began); lived != *Lifetime {
			t.Errorf("returned after %v", lived)
		}
		close(in.end) // the goroutine that reads ends, after many empty reads
	})
}
