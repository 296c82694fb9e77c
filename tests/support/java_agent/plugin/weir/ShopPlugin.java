package weir;

import static org.apache.skywalking.apm.dependencies.net.bytebuddy.matcher.ElementMatchers.named;

import org.apache.skywalking.apm.agent.core.plugin.interceptor.ConstructorInterceptPoint;
import org.apache.skywalking.apm.agent.core.plugin.interceptor.InstanceMethodsInterceptPoint;
import org.apache.skywalking.apm.agent.core.plugin.interceptor.enhance.ClassInstanceMethodsEnhancePluginDefine;
import org.apache.skywalking.apm.agent.core.plugin.match.ClassMatch;
import org.apache.skywalking.apm.agent.core.plugin.match.NameMatch;
import org.apache.skywalking.apm.dependencies.net.bytebuddy.description.method.MethodDescription;
import org.apache.skywalking.apm.dependencies.net.bytebuddy.matcher.ElementMatcher;

/** Which methods of the shop become spans. */
public class ShopPlugin extends ClassInstanceMethodsEnhancePluginDefine {
    @Override
    protected ClassMatch enhanceClass() {
        return NameMatch.byName("Shop");
    }

    @Override
    public ConstructorInterceptPoint[] getConstructorsInterceptPoints() {
        return new ConstructorInterceptPoint[0];
    }

    @Override
    public InstanceMethodsInterceptPoint[] getInstanceMethodsInterceptPoints() {
        return new InstanceMethodsInterceptPoint[] {new Point("answer", "weir.Entry"), new Point("call", "weir.Exit")};
    }

    private static final class Point implements InstanceMethodsInterceptPoint {
        private final String method;
        private final String interceptor;

        Point(String method, String interceptor) {
            this.method = method;
            this.interceptor = interceptor;
        }

        @Override
        public ElementMatcher<MethodDescription> getMethodsMatcher() {
            return named(method);
        }

        @Override
        public String getMethodsInterceptor() {
            return interceptor;
        }

        @Override
        public boolean isOverrideArgs() {
            return false;
        }
    }
}
