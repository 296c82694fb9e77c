package weir.bench;

import org.apache.flink.api.common.functions.AggregateFunction;

/** The sum of a window's partials. */
public final class SumPartials implements AggregateFunction<Partial, Partial, Partial> {
    @Override
    public Partial createAccumulator() {
        return new Partial();
    }

    @Override
    public Partial add(Partial partial, Partial sum) {
        if (sum.count == 0) {
            sum.key = partial.key;
            sum.start = partial.start;
            sum.size = partial.size;
        }
        sum.add(partial);
        return sum;
    }

    @Override
    public Partial getResult(Partial sum) {
        return sum;
    }

    @Override
    public Partial merge(Partial one, Partial other) {
        return add(other, one);
    }
}
