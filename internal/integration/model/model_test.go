// Package model_test checks pond against a model.
package model_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "300")
	os.Exit(m.Run())
}

func TestOneAtATime(t *testing.T) { check(t, 1) }

func TestAllAtOnce(t *testing.T) { check(t, 8) }

func check(t *testing.T, crowd int) {
	generator := histories(crowd)
	j := jury{t: t, attempts: 1, reports: map[string]string{}}
	rapid.Check(t, func(rt *rapid.T) {
		h := generator.Draw(rt, "history")
		if report := j.judge(h); report != "" {
			rt.Log(report)
			rt.Fatal("no order of events explains what was seen") // always the same, by which rapid knows it again
		}
	})
}

// A jury judges histories. What happens at once may go well or not, so that after
// the first failure, each history gets as many attempts as that takes to come
// back, and what has failed once has failed.
type jury struct {
	t        *testing.T
	attempts int
	reports  map[string]string // of failures, by history
}

func (j *jury) judge(h history) (report string) {
	text := h.String()
	first := len(j.reports) == 0
	for i := 0; i < j.attempts && j.reports[text] == ""; i++ {
		if report := j.try(h); report != "" {
			j.reports[text] = report
		}
	}
	if report = j.reports[text]; report != "" && first {
		const most = 30
		j.attempts = most
		for i := range most {
			if j.try(h) != "" {
				j.attempts = 1 + 3*i
				break
			}
		}
	}
	return report
}

// try plays a history and returns what is wrong with it.
func (j *jury) try(h history) (report string) {
	s, err := play(j.t, h)
	if err != nil {
		return err.Error()
	}
	if len(s.faults) > 0 {
		return strings.Join(s.faults, "\n")
	}
	if err := explain(h, s); err != nil {
		return err.Error() + "\n" + s.String()
	}
	return ""
}
