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
			rt.Fatal("no order of events explains the observations") // the same text for all failures, so that rapid recognizes it
		}
	})
}

// A jury judges histories. Concurrent actions do not fail every time, so after the first
// failure, the jury measures how many attempts it takes to repeat it, and gives each
// history that many. A history that failed once counts as failed.
type jury struct {
	t        *testing.T
	attempts int
	reports  map[string]string // reports of failures, by history
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

// try plays a history and returns a report if it fails.
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
