package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// complete asks a shell for the completions of a line.
var complete = map[string]func(t *testing.T, script, line string) *exec.Cmd{
	"bash": func(t *testing.T, script, line string) *exec.Cmd {
		words := strings.Split(line, " ")
		return exec.CommandContext(t.Context(), "bash", append([]string{
			"--norc", "-c",
			`source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pond; printf '%s\n' "${COMPREPLY[@]}"`,
			"bash", script,
		}, words...)...)
	},
	"fish": func(t *testing.T, script, line string) *exec.Cmd {
		return exec.CommandContext(t.Context(), "fish", "--no-config", "-c",
			`source $argv[1]; complete -C $argv[2] | string replace -r '\t.*' ''; true`, script, line)
	},
	"zsh": func(t *testing.T, script, line string) *exec.Cmd {
		words := strings.Split(line, " ")
		// Outside of its line editor, zsh cannot complete, but it can print the words
		// that the script adds.
		return exec.CommandContext(t.Context(), "zsh", append([]string{
			"-f", "-c",
			`compdef() {}; compadd() { shift; print -l -- "$@" }; _describe() { print -l -- "${(@)${(@P)2}%%:*}" }
			source "$1"; shift; words=("$@"); CURRENT=$#; _pond`,
			"zsh", script,
		}, words...)...)
	},
}

func TestCompletion(t *testing.T) {
	for shell, ask := range complete {
		t.Run(shell, func(t *testing.T) {
			if _, err := exec.LookPath(shell); err != nil {
				if os.Getenv("CI") == "true" && shell == "bash" {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			var stdout strings.Builder
			if code := run(t.Context(), []string{"completion", shell}, &stdout, t.Output()); code != 0 {
				t.Fatalf("exit code %d", code)
			}
			script := filepath.Join(t.TempDir(), "pond."+shell)
			if err := os.WriteFile(script, []byte(stdout.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, tt := range []struct{ line, want string }{
				{"pond ", "version"},
				{"pond ", "help"},
				{"pond doc", "doctor"},
				{"pond doctor -", "-json"},
				{"pond doctor -i", "-idle"},
				{"pond demo -", "-addr"},
				{"pond completion ", "zsh"},
				{"pond help ", "demo"},
			} {
				out, err := ask(t, script, tt.line).Output()
				if err != nil {
					t.Fatalf("%q: %v", tt.line, err)
				}
				if !slices.Contains(strings.Fields(string(out)), tt.want) {
					t.Errorf("%q: %q is not in %q", tt.line, tt.want, out)
				}
			}
		})
	}
}

func TestBashCompletion(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip(err)
	}
	script := filepath.Join(t.TempDir(), "pond.bash")
	if err := os.WriteFile(script, []byte(bashCompletion(allCommands())), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{"pond vers": "version", "pond doctor -js": "-json", "pond nonsense ": "", "pond version -": ""} {
		out, err := complete["bash"](t, script, line).Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", line, got, err, want)
		}
	}
}
