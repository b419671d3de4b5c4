package bench

import (
	"context"
	"time"
)

// packets is the section about what a packet costs.
func packets() Section {
	return Section{Name: "packets", Title: "What a packet costs", Time: 4 * time.Minute, Run: runPackets}
}

func runPackets(ctx context.Context, env *Env) (*Result, error) {
	contenders := append(limits(), rules()...)
	r := &Result{}
	columns := make([]Column, len(contenders))
	for i, c := range contenders {
		columns[i] = Column{Name: c.name}
	}
	for _, f := range families() {
		t := Table{Name: f.String(), Title: f.String(), Head: "ns a packet", Columns: columns}
		list := append(honest(), hostile()...)
		if f.six {
			list = append(list, network()...)
		}
		for _, p := range list {
			env.Log("%s, %s", f, p.name)
			samples, err := measure(ctx, contenders, p, f, effort{rounds: 5, time: 20 * time.Millisecond})
			if err != nil {
				return nil, err
			}
			row := Row{Name: p.name}
			for _, s := range samples {
				row.Cells = append(row.Cells, s.cell())
			}
			t.Rows = append(t.Rows, row)
		}
		r.Tables = append(r.Tables, t)
	}
	return r, nil
}
