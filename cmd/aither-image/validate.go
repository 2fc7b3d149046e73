package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/aitheros/aither-image/internal/blueprint"
)

func (p *program) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "validate BLUEPRINT...",
		GroupID: groupWrite,
		Short:   "Find every mistake in blueprints and plans",
		Long: `validate reads blueprints or plans and prints every mistake at once, each as
file:line:column: code: text, with a suggestion where there is one. Nothing is
fetched and nothing is built. It ends with 2 where there is a mistake; warnings
do not count.`,
		Example: "  aither-image validate my.toml\n  aither-image validate --json - < my.toml",
		Args:    atLeastOne("the blueprint"),
		RunE:    func(_ *cobra.Command, args []string) error { return p.validate(args) },
	}
}

func (p *program) validate(args []string) error {
	all := blueprint.Problems{}
	for _, arg := range args {
		name, src, dir, err := p.source(arg)
		if err != nil {
			return err
		}
		env, err := environment(dir, &planFlags{})
		if err != nil {
			return err
		}
		_, problems := blueprint.Load(name, withoutExplanation(src), env)
		all = append(all, problems...)
	}
	err := p.answer(all, func(w io.Writer) error {
		if len(all) > 0 {
			_, err := fmt.Fprintln(w, all)
			return err
		}
		return nil
	})
	if err == nil && slices.ContainsFunc(all, func(q blueprint.Problem) bool { return q.Severity == blueprint.Error }) {
		return &silentError{exitUsage}
	}
	return err
}
