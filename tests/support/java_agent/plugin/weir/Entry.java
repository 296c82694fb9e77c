package weir;

import com.sun.net.httpserver.HttpExchange;
import java.lang.reflect.Method;
import org.apache.skywalking.apm.agent.core.context.CarrierItem;
import org.apache.skywalking.apm.agent.core.context.ContextCarrier;
import org.apache.skywalking.apm.agent.core.context.ContextManager;
import org.apache.skywalking.apm.agent.core.context.tag.Tags;
import org.apache.skywalking.apm.agent.core.context.trace.AbstractSpan;
import org.apache.skywalking.apm.agent.core.context.trace.SpanLayer;
import org.apache.skywalking.apm.agent.core.plugin.interceptor.enhance.EnhancedInstance;
import org.apache.skywalking.apm.agent.core.plugin.interceptor.enhance.InstanceMethodsAroundInterceptor;
import org.apache.skywalking.apm.agent.core.plugin.interceptor.enhance.MethodInterceptResult;
import org.apache.skywalking.apm.network.trace.component.ComponentsDefine;

/** An entry span around the answer to a request. */
public class Entry implements InstanceMethodsAroundInterceptor {
    @Override
    public void beforeMethod(EnhancedInstance shop, Method method, Object[] arguments, Class<?>[] types,
            MethodInterceptResult result) {
        HttpExchange exchange = (HttpExchange) arguments[0];
        ContextCarrier carrier = new ContextCarrier();
        for (CarrierItem item = carrier.items(); item.hasNext();) {
            item = item.next();
            item.setHeadValue(exchange.getRequestHeaders().getFirst(item.getHeadKey()));
        }
        AbstractSpan span = ContextManager.createEntrySpan(exchange.getRequestURI().getPath(), carrier);
        span.setComponent(ComponentsDefine.TOMCAT);
        SpanLayer.asHttp(span);
        Tags.HTTP.METHOD.set(span, exchange.getRequestMethod());
    }

    @Override
    public Object afterMethod(EnhancedInstance shop, Method method, Object[] arguments, Class<?>[] types, Object returned) {
        ContextManager.stopSpan();
        return returned;
    }

    @Override
    public void handleMethodException(EnhancedInstance shop, Method method, Object[] arguments, Class<?>[] types,
            Throwable thrown) {
        ContextManager.activeSpan().log(thrown);
    }
}
