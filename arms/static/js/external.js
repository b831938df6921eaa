(()=>{var t=new URLSearchParams(location.search),{oceanus:e}=window;e.init({site:t.get("site")||void 0,autosend:!1,spa:!1}),t.get("oid")&&t.get("evt")&&e.f({oid:t.get("oid"),evt:t.get("evt"),url:t.get("url"),ref:t.get("ref"),tit:t.get("tit"),jsn:(t=>{try{return JSON.parse(t||"null")}catch(e){return{text:t}}})(t.get("jsn"))})})();
//# sourceMappingURL=external.js.map
