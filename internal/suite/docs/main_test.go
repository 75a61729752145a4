package docs_test

import (
	"os"
	"testing"
)

// The tests of this package read the whole repository, so they run in its root.
// All paths in them start there.
func TestMain(m *testing.M) {
	if err := os.Chdir("../../.."); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
