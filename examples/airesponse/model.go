package main

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"
)

// A Model answers questions, piece by piece, as the clients of language models do.
type Model func(ctx context.Context, question string) iter.Seq2[string, error]

// pause is the time that the model needs for each word.
const pause = 120 * time.Millisecond

// slowModel is a slow model that gives the same answer to all questions.
func slowModel(ctx context.Context, question string) iter.Seq2[string, error] {
	text := fmt.Sprintf("You asked: %q. ", strings.TrimSpace(question)) + strings.Repeat(
		"A good answer takes its time, so it comes word by word. Reload this page, open it in a second tab, or cut its connection: "+
			"the words that were said are still there, and none comes twice. ", 4) + "That is all."
	return func(yield func(string, error) bool) {
		for word := range strings.SplitAfterSeq(text, " ") {
			select {
			case <-ctx.Done():
				yield("", ctx.Err())
				return
			case <-time.After(pause):
			}
			if !yield(word, nil) {
				return
			}
		}
	}
}
