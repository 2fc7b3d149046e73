package main

import (
	"context"

	"github.com/aitheros/aither-image/internal/blueprint"
)

// An explanation says for people what a plan does.
type explanation struct {
	Stages []string `json:"stages"`
}

func (p *program) explain(_ context.Context, plan *blueprint.Plan) (*explanation, error) {
	return &explanation{Stages: []string{"compose " + plan.Name}}, nil
}

func (e *explanation) lines() []string { return e.Stages }
